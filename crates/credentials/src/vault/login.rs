//! The token: had, renewed, had anew.

use std::time::Duration;

use chiton_secret::{SecretRef, SecretValue};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    Vault, VaultError,
    answers::{Auth, LoggedIn, LookedUp, parse},
    client::{Ask, fault},
    settings::Login,
};

/// A token, and how long it holds.
pub(super) struct Session {
    token: SecretValue,
    renewable: bool,
    /// From when on it is renewed, and when it ends. None: it does not end.
    ends: Option<(Instant, Instant)>,
}

impl Session {
    fn new(token: SecretValue, seconds: u64, renewable: bool, asked: Instant) -> Self {
        let time = Duration::from_secs(seconds);
        let ends = (seconds > 0).then(|| (asked + time * 2 / 3, asked + time));
        Self { token, renewable, ends }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.ends.is_some_and(|(due, _)| now >= due)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|(_, end)| now >= end)
    }
}

impl Vault {
    /// A token that holds, and whether it was at hand already.
    pub(super) async fn token(&self) -> Result<(SecretValue, bool), VaultError> {
        let mut session = self.session.lock().await;
        let now = Instant::now();
        session.take_if(|session| session.is_over(now));
        if let Some(known) = &mut *session {
            if !known.is_due(now) {
                return Ok((known.token.clone(), true));
            }
            match self.renewed(known).await {
                Ok(Some(renewed)) => *known = renewed,
                // No more to be had of this one; another where there can be one, else it is used to its end.
                Ok(None) => match self.log_in().await {
                    Ok(other) => *known = other,
                    Err(error) => tracing::warn!("{error}; the token at hand is used while it holds"),
                },
                Err(error) => tracing::warn!("the token of Vault is not renewed: {error}"),
            }
            return Ok((known.token.clone(), true));
        }
        let fresh = self.log_in().await?;
        let token = fresh.token.clone();
        *session = Some(fresh);
        Ok((token, false))
    }

    /// Another one is got the next time.
    pub(super) async fn forget_token(&self, refused: &SecretValue) {
        self.session.lock().await.take_if(|session| session.token == *refused);
    }

    /// When the token wants to be renewed.
    pub(super) async fn renewal_in(&self) -> Option<Duration> {
        let (due, _) = self.session.lock().await.as_ref()?.ends?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// The same token for longer; none where it cannot be.
    async fn renewed(&self, session: &Session) -> Result<Option<Session>, VaultError> {
        if !session.renewable {
            return Ok(None);
        }
        let asked = Instant::now();
        let body = Zeroizing::new(b"{}".to_vec());
        let answer = self.client.ask(Ask::post("auth/token/renew-self", body).by(&session.token)).await?;
        match answer.status() {
            200 => {
                let Auth { client_token, lease_duration, renewable } = parse::<LoggedIn>(answer.body())?.auth;
                let renewed = Session::new(client_token, lease_duration, renewable, asked);
                // It can be near the end that it has at most.
                let longer =
                    renewed.ends.is_none_or(|(_, end)| session.ends.is_some_and(|(_, old)| end > old));
                Ok(longer.then_some(renewed))
            }
            400 | 403 => Ok(None),
            _ => Err(fault(&answer)),
        }
    }

    async fn log_in(&self) -> Result<Session, VaultError> {
        match &self.settings.login {
            Login::Token(reference) => self.look_up(self.means(reference).await?).await,
            Login::AppRole { mount, role_id, secret_id } => {
                let secret_id = self.means(secret_id).await?;
                self.post_login(
                    "AppRole",
                    mount,
                    [("role_id", role_id.as_bytes()), ("secret_id", secret_id.dangerous_expose())],
                )
                .await
            }
            Login::Kubernetes { mount, role, jwt } => {
                let jwt = self.means(jwt).await?;
                self.post_login(
                    "Kubernetes",
                    mount,
                    [("role", role.as_bytes()), ("jwt", jwt.dangerous_expose())],
                )
                .await
            }
        }
    }

    async fn look_up(&self, token: SecretValue) -> Result<Session, VaultError> {
        let asked = Instant::now();
        let answer = self.client.ask(Ask::get("auth/token/lookup-self").by(&token)).await?;
        match answer.status() {
            200 => {
                let about = parse::<LookedUp>(answer.body())?.data;
                Ok(Session::new(token, about.ttl, about.renewable, asked))
            }
            status @ (400 | 403) => Err(VaultError::Refused { how: "token", status }),
            _ => Err(fault(&answer)),
        }
    }

    async fn post_login(
        &self,
        how: &'static str,
        mount: &str,
        fields: [(&str, &[u8]); 2],
    ) -> Result<Session, VaultError> {
        let body = object(fields).ok_or(VaultError::NoMeans(format!("those of {how} are no text")))?;
        let asked = Instant::now();
        let answer = self.client.ask(Ask::post(&format!("auth/{mount}/login"), body)).await?;
        match answer.status() {
            200 => {
                let Auth { client_token, lease_duration, renewable } = parse::<LoggedIn>(answer.body())?.auth;
                Ok(Session::new(client_token, lease_duration, renewable, asked))
            }
            status @ (400 | 401 | 403 | 404) => Err(VaultError::Refused { how, status }),
            _ => Err(fault(&answer)),
        }
    }

    async fn means(&self, reference: &SecretRef) -> Result<SecretValue, VaultError> {
        let store = self.plain.store(reference.scheme());
        let store = store.ok_or_else(|| VaultError::NoMeans(format!("`{reference}` is not of this host")))?;
        let fetched = store.fetch(reference).await;
        let fetched = fetched.map_err(|fault| VaultError::NoMeans(format!("`{reference}`: {fault}")))?;
        if fetched.value.is_empty() {
            return Err(VaultError::NoMeans(format!("`{reference}` is empty")));
        }
        Ok(fetched.value)
    }
}

/// A JSON object of texts, in room that does not move while it is written.
fn object(fields: [(&str, &[u8]); 2]) -> Option<Zeroizing<Vec<u8>>> {
    // Six bytes are the most that one takes.
    let room: usize = fields.iter().map(|(name, value)| name.len() + value.len() * 6 + 8).sum();
    let mut object = Zeroizing::new(Vec::with_capacity(room + 8));
    for (before, (name, value)) in [&b"{"[..], b","].into_iter().zip(fields) {
        object.extend_from_slice(before);
        serde_json::to_writer(&mut *object, name).ok()?;
        object.push(b':');
        serde_json::to_writer(&mut *object, std::str::from_utf8(value).ok()?).ok()?;
    }
    object.push(b'}');
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn what_is_sent_to_log_in_is_json_whatever_it_holds() {
        let made = object([("role_id", b"a\"b"), ("secret_id", "é\n".as_bytes())]).unwrap();
        assert_eq!(made.as_slice(), "{\"role_id\":\"a\\\"b\",\"secret_id\":\"é\\n\"}".as_bytes());
        assert!(object([("a", b"\xff"), ("b", b"")]).is_none());
    }
}
