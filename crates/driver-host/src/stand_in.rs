//! What drivers' tests have in the place of a proxy.
#![expect(
    clippy::unwrap_used,
    reason = "this is a test's half, compiled for the drivers' own: a surprise is to panic"
)]

use std::{
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    process::ExitCode,
};

use chiton_api::{
    control::{Listeners, ProxyReply, ProxyRequest},
    frame,
};

/// Plays the proxy's part of the control link: takes the configuration, says that it enforces.
#[must_use]
pub fn be_proxy() -> ExitCode {
    let control = chiton_sys::spawn::inherited(3).unwrap();
    loop {
        let Ok(link) = rustix::net::accept(&control) else { return ExitCode::FAILURE };
        let mut length = [0; 4];
        let Ok((4, descriptors)) = chiton_sys::descriptors::receive(link.as_fd(), &mut length) else {
            continue;
        };
        let mut link = std::fs::File::from(link);
        let mut bytes = vec![0; frame::checked_len(length).unwrap()];
        link.read_exact(&mut bytes).unwrap();
        let ProxyRequest::Configure(config) = frame::decode(&bytes).unwrap() else { continue };
        let Listeners { tcp, dns_udp, dns_tcp, dropped, owners } = config.listeners;
        let told: u32 = [tcp, dns_udp, dns_tcp, dropped, owners].map(u32::from).iter().sum();
        assert_eq!(usize::try_from(told).unwrap() + 1, descriptors.len());
        frame::write_message(&mut link, &ProxyReply::Enforcing { revision: 1, cut: 0 }).unwrap();
        link.flush().unwrap();
    }
}
