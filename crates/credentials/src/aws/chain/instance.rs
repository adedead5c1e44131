//! The metadata of an EC2 instance, version 2 only: a session's token is asked for first.

use std::{net::IpAddr, time::Duration};

use chiton_aws::Credentials;
use chiton_policy::Host;
use chiton_secret::SecretValue;
use hyper::{Method, header};

use super::{
    super::{CallError, Servers, Variables},
    ChainError, Whom, json,
};
use crate::{
    ServerAddress,
    address::web_port,
    client::{Answer, AskError, Client, asked},
};

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const USUAL: &str = "http://169.254.169.254";
const USUAL_6: &str = "http://[fd00:ec2::254]";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// It is on the link, or there is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// None where it is switched off.
pub(super) async fn credentials(
    variables: &Variables,
    servers: &Servers,
) -> Result<Option<Credentials>, ChainError> {
    if variables.is_true("AWS_EC2_METADATA_DISABLED") {
        return Ok(None);
    }
    let address = address(variables)?;
    let client = servers.at(&address).map_err(failed)?;
    let asks = Asks { client: &client, host: address.host_field() };
    let ttl = (header::HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"), "21600");
    let began = Client::question(Method::PUT, "/latest/api/token", &asks.host).header(ttl.0, ttl.1);
    let token = SecretValue::new(asks.answer(began).await?.body().to_vec());
    let role = asks.get(ROLES, &token).await?;
    let role = std::str::from_utf8(role.body()).unwrap_or_default().lines().next().unwrap_or_default().trim();
    if role.is_empty() || !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
    {
        return Err(ChainError::Odd(Whom::Instance));
    }
    let given = asks.get(&format!("{ROLES}{role}"), &token).await?;
    json::parse(given.body(), Whom::Instance).map(Some)
}

fn address(variables: &Variables) -> Result<ServerAddress, ChainError> {
    let ipv6 = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    let usual = if ipv6.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6")) { USUAL_6 } else { USUAL };
    let told = variables.get(ENDPOINT).unwrap_or_else(|| usual.to_owned());
    let address = ServerAddress::parse_any(&told, web_port).map_err(|_| ChainError::Place(ENDPOINT))?;
    let link = ["169.254.169.254", "fd00:ec2::254"];
    let is_link = match address.host() {
        Host::Ip(ip) => link.iter().any(|link| link.parse::<IpAddr>() == Ok(*ip)),
        Host::Name(_) => false,
    };
    Some(address)
        .filter(|address| address.tls() || is_link || address.is_here())
        .ok_or(ChainError::Place(ENDPOINT))
}

struct Asks<'a> {
    client: &'a Client,
    host: String,
}

impl Asks<'_> {
    async fn get(&self, target: &str, token: &SecretValue) -> Result<Answer, ChainError> {
        let value = header::HeaderValue::from_bytes(token.dangerous_expose());
        let mut value = value.map_err(|_| ChainError::Odd(Whom::Instance))?;
        value.set_sensitive(true);
        let name = header::HeaderName::from_static("x-aws-ec2-metadata-token");
        self.answer(Client::question(Method::GET, target, &self.host).header(name, value)).await
    }

    async fn answer(&self, builder: hyper::http::request::Builder) -> Result<Answer, ChainError> {
        let request = asked(builder, None).map_err(failed)?;
        let asked = tokio::time::timeout(PATIENCE, self.client.ask(request)).await;
        let late = |_| AskError::TimedOut { address: self.client.address().authority(), after: PATIENCE };
        let answer = asked.map_err(late).and_then(|asked| asked).map_err(failed)?;
        match answer.status() {
            200 => Ok(answer),
            status => Err(ChainError::Refused { whom: Whom::Instance, status, code: None }),
        }
    }
}

fn failed(error: AskError) -> ChainError {
    ChainError::Call { whom: Whom::Instance, error: CallError::Asked(error) }
}
