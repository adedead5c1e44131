//! A container's agent: ECS, EKS Pod Identity, and what does as they do.

use std::net::IpAddr;

use chiton_aws::Credentials;
use chiton_policy::Host;
use chiton_secret::SecretValue;
use hyper::{Method, header};

use super::{
    super::{CallError, Servers, Variables},
    ChainError, Whom, json,
    sts::read,
};
use crate::{
    ServerAddress,
    address::web_port,
    client::{Client, asked},
};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const AGENT: &str = "http://169.254.170.2";
/// ECS, and EKS.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// None where no variable names one.
pub(super) async fn credentials(
    variables: &Variables,
    servers: &Servers,
) -> Result<Option<Credentials>, ChainError> {
    let (address, target) = match (variables.get(RELATIVE), variables.get(FULL)) {
        (Some(target), _) => {
            let address = ServerAddress::parse_any(AGENT, web_port);
            (address.map_err(|_| ChainError::Place(RELATIVE))?, target)
        }
        (None, Some(url)) => split(&url).ok_or(ChainError::Place(FULL))?,
        (None, None) => return Ok(None),
    };
    let call = |error| ChainError::Call { whom: Whom::Container, error };
    let client = servers.at(&address).map_err(|error| call(error.into()))?;
    let host = address.host_field();
    let mut builder =
        Client::question(Method::GET, &target, &host).header(header::ACCEPT, "application/json");
    if let Some(token) = token(variables).await? {
        let value = header::HeaderValue::from_bytes(token.dangerous_expose().trim_ascii());
        let mut value = value.map_err(|_| ChainError::Odd(Whom::Container))?;
        value.set_sensitive(true);
        builder = builder.header(header::AUTHORIZATION, value);
    }
    let request = asked(builder, None).map_err(|error| call(CallError::Asked(error)))?;
    let answer = client.ask(request).await.map_err(|error| call(error.into()))?;
    match answer.status() {
        200 => json::parse(answer.body(), Whom::Container).map(Some),
        status => Err(ChainError::Refused { whom: Whom::Container, status, code: None }),
    }
}

async fn token(variables: &Variables) -> Result<Option<SecretValue>, ChainError> {
    if let Some(path) = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        return read(&path).await.map(Some);
    }
    let token = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    Ok(token.map(|token| SecretValue::new(token.into_bytes())))
}

/// An address that is allowed, and what is asked of it.
fn split(url: &str) -> Option<(ServerAddress, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    let address = ServerAddress::parse_any(&format!("{scheme}://{authority}"), web_port).ok()?;
    let agent = match address.host() {
        Host::Ip(ip) => AGENTS.iter().any(|agent| agent.parse::<IpAddr>() == Ok(*ip)),
        Host::Name(_) => false,
    };
    (address.tls() || address.is_here() || agent).then(|| (address, target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn only_hosts_that_may_be_asked() {
        for url in [
            "http://127.0.0.1:8080/role?x=1",
            "http://localhost/role",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "https://agent.corp/role",
        ] {
            let (_, target) = split(url).unwrap();
            assert!(target.starts_with('/') && url.ends_with(&target));
        }
        for url in [
            "http://169.254.169.254/role",
            "http://agent.corp/role",
            "http://169.254.170.2.corp/role",
            "http://localhost@agent.corp/role",
            "http://127.0.0.1",
            "/role",
        ] {
            assert_eq!(split(url), None, "{url}");
        }
    }
}
