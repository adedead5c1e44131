//! `dynamic.network.tcp`

use super::{Node, Notes, Sites, network, process::read_binaries};
use crate::{
    model::TcpRule,
    names::{RuleName, Scheme},
};

const FIELDS: [&str; 4] = ["host", "ports", "binaries", "private_addresses"];

pub(super) fn read(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Vec<TcpRule> {
    let items = notes.list(node, "tcp", "rules");
    for (index, item) in items.iter().enumerate() {
        let field = format!("tcp[{index}]");
        let fields = notes.fields(item, &field, &FIELDS);
        if fields.get("ports").is_none() && fields.get("host").is_some() {
            notes.error(item.span.clone(), format!("`{field}` has no `ports`"));
        }
        let ports = network::read_ports(&fields, Scheme::Https.default_port(), notes);
        let private = fields.get("private_addresses");
        let private = private.and_then(|node| notes.boolean(node, "private_addresses"));
        let binaries = fields.get("binaries").map(|node| read_binaries(node, notes));
        let Some((host, _)) = network::read_host(item, &fields, &field, notes) else { continue };
        let rule = TcpRule {
            name: RuleName::new(&field),
            host,
            ports,
            binaries,
            private_addresses: private.unwrap_or(false),
        };
        sites.tcp.push((rule, item.span.clone()));
    }
    sites.tcp.iter().map(|(rule, _)| rule.clone()).collect()
}
