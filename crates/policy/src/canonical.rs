//! The canonical request: one form for every way in, or a refusal.
//!
//! In goes what a listener read, untouched ([`IncomingRequest`]). Out comes an [`Intent`], which is what is
//! judged and exactly what is sent upstream, or [`Ambiguous`] when two servers could read the request
//! differently. Nothing is guessed.

mod authority;
mod line;
mod loose;
mod target;

use std::{borrow::Cow, sync::Arc};

pub use line::RequestLineError;
pub(crate) use loose::split_reading;
pub(crate) use target::{Parameter, check_segment, read_parameter};

use crate::{
    binary::Binary,
    names::{Host, HostError, Method, Port, Scheme},
};

/// What a listener read of a request, byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct IncomingRequest<'a> {
    /// Whether the connection speaks TLS.
    pub scheme: Scheme,
    /// The port that the agent connected to.
    pub port: u16,
    /// The server name of the TLS handshake, where there was one.
    pub server_name: Option<&'a str>,
    /// `:authority` of HTTP/2, or the authority of a `CONNECT`; absent in HTTP/1.1 with a plain target.
    pub authority: Option<&'a [u8]>,
    /// Every `Host` header, in order.
    pub host_headers: &'a [&'a [u8]],
    /// The method.
    pub method: &'a [u8],
    /// The request target: path and query, or an absolute form.
    pub target: &'a [u8],
    /// Whether a header [asks for another method](asks_for_another_method).
    pub method_override: bool,
    /// Whether the body's end is told in two ways: `Content-Length` and `Transfer-Encoding`, either twice, or a name that
    /// [may be read as one](may_be_read_as_framing).
    pub framing_conflict: bool,
    /// The executable of the socket's owner, where it could be told for certain.
    pub binary: Option<&'a Binary>,
}

/// Whether a header's name, in lower case, asks a server to read another method.
#[must_use]
pub fn asks_for_another_method(name: &str) -> bool {
    const NAMES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
    NAMES.iter().any(|known| may_be_read_as(name, known))
}

/// Whether a header's name, in lower case, says where a body ends to some servers and not to others.
#[must_use]
pub fn may_be_read_as_framing(name: &str) -> bool {
    const NAMES: [&str; 2] = ["content-length", "transfer-encoding"];
    !NAMES.contains(&name) && NAMES.iter().any(|known| may_be_read_as(name, known))
}

/// CGI, and what took its names (PHP, Rack, WSGI), puts `_` for what is no letter or digit: `-`, and another byte too.
fn may_be_read_as(name: &str, known: &str) -> bool {
    let alike = |(byte, known): (u8, u8)| byte == known || known == b'-' && !byte.is_ascii_alphanumeric();
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(alike)
}

/// A request in its one canonical form. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent(Arc<Request>);

#[derive(Debug, PartialEq, Eq)]
struct Request {
    scheme: Scheme,
    host: Host,
    port: Port,
    method: Method,
    target: target::Target,
    method_override: bool,
    binary: Option<Binary>,
}

/// A request that is refused before any rule is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is refused: {0}")]
pub struct Ambiguous(#[from] pub Ambiguity);

/// What two servers could read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// The method is no token.
    #[error("its method is not a token")]
    Method,
    /// No `Host`, no authority.
    #[error("it names no host")]
    NoHost,
    /// More than one `Host`.
    #[error("it has more than one `Host`")]
    ManyHosts,
    /// The host is none.
    #[error("{0}")]
    BadHost(HostError),
    /// `user@host`
    #[error("a user stands before its host")]
    User,
    /// The port is none, or not the one that was connected to.
    #[error("its port is not the one that was connected to")]
    Port,
    /// `Host`, authority and absolute form differ.
    #[error("`Host`, authority and target name different hosts")]
    HostConflict,
    /// The TLS handshake named another host.
    #[error("its host is not the server name of its TLS connection")]
    ServerName,
    /// The target is neither a path nor an absolute form.
    #[error("its target is not a path")]
    TargetForm,
    /// An absolute form with another scheme.
    #[error("its target names another scheme")]
    TargetScheme,
    /// `%` without two hexadecimal digits.
    #[error("a `%` in its target is not followed by two hexadecimal digits")]
    BadPercent,
    /// NUL, another control character, or a space.
    #[error("there is a control character or a space in its target")]
    Control,
    /// A backslash, raw or encoded.
    #[error("there is a backslash in its path")]
    Backslash,
    /// `//`
    #[error("there is an empty segment in its path")]
    EmptySegment,
    /// A segment whose part before `;` is empty, `.` or `..`.
    #[error("a segment of its path is nothing, `.` or `..` before a `;`")]
    EmptyParameter,
    /// Bytes that are not UTF-8, which some servers read as other characters.
    #[error("its path is not UTF-8")]
    NotUtf8,
    /// `%2F` where no rule, or not every rule, accepts it.
    #[error("there is an encoded slash in its path, and not every rule that matches has `encoded_slash`")]
    EncodedSlash,
    /// The end of its body is told in two ways.
    #[error("servers could read differently where its body ends")]
    Framing,
    /// A method override without a rule for any method.
    #[error("a header asks for another method, and the rule does not have `methods: [\"*\"]`")]
    MethodOverride,
}

impl Intent {
    /// Brings a request to its canonical form.
    ///
    /// # Errors
    /// When two servers could read it differently.
    pub fn from_parts(incoming: &IncomingRequest<'_>) -> Result<Self, Ambiguous> {
        Ok(Self::read(incoming)?)
    }

    /// Reads `METHOD scheme://authority/target`, the target byte for byte as a client would send it.
    ///
    /// # Errors
    /// When the text is not of that form, or is a request that two servers could read differently.
    pub fn from_request_line(text: &str) -> Result<Self, RequestLineError> {
        line::read(text, None)
    }

    /// The same, asked for by this executable.
    ///
    /// # Errors
    /// As [`Intent::from_request_line`].
    pub fn from_request_line_of(text: &str, binary: &Binary) -> Result<Self, RequestLineError> {
        line::read(text, Some(binary))
    }

    fn read(incoming: &IncomingRequest<'_>) -> Result<Self, Ambiguity> {
        if incoming.framing_conflict {
            return Err(Ambiguity::Framing);
        }
        let method =
            std::str::from_utf8(incoming.method).ok().and_then(Method::new).ok_or(Ambiguity::Method)?;
        let (target_authority, raw_target) = target::split_form(incoming.target, incoming.scheme)?;
        let (host, port) = authority::agree(incoming, target_authority)?;
        let target = target::Target::read(raw_target)?;
        Ok(Self(Arc::new(Request {
            scheme: incoming.scheme,
            host,
            port,
            method,
            target,
            method_override: incoming.method_override,
            binary: incoming.binary.cloned(),
        })))
    }

    /// Over TLS or in the clear.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> Port {
        self.0.port
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The canonical path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.target.path()
    }

    /// The canonical query, without `?`; none when there is none or it is empty.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.target.query()
    }

    /// The canonical path and query: the target that is sent upstream.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.0.target.as_str()
    }

    /// The names of the query's parameters, decoded: what an event may hold. Never a value.
    pub fn query_names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.target.parameters().iter().map(|(name, _)| String::from_utf8_lossy(name))
    }

    /// Host and, where it is not the scheme's own, port: the value of `Host` that is sent upstream.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port() == self.scheme().default_port() {
            self.host().to_string()
        } else {
            format!("{}:{}", self.host(), self.port())
        }
    }

    /// The same request at another host, for this canonical path.
    ///
    /// # Errors
    /// When two servers could read the path differently.
    pub(crate) fn moved(&self, host: &Host, path: &str) -> Result<Self, Ambiguous> {
        let raw = match self.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let target = target::Target::read(raw.as_bytes())?;
        let (method, binary) = (self.0.method.clone(), self.0.binary.clone());
        Ok(Self(Arc::new(Request {
            scheme: self.0.scheme,
            host: host.clone(),
            port: self.0.port,
            method,
            target,
            method_override: self.0.method_override,
            binary,
        })))
    }

    pub(crate) fn target(&self) -> &target::Target {
        &self.0.target
    }

    pub(crate) fn has_method_override(&self) -> bool {
        self.0.method_override
    }

    /// Who asked, where it is known.
    #[must_use]
    pub fn binary(&self) -> Option<&Binary> {
        self.0.binary.as_ref()
    }
}

/// Whether a path is in its canonical form, and can be read in one way only.
pub(crate) fn is_canonical_path(path: &str) -> bool {
    let read = target::Target::read(path.as_bytes());
    read.is_ok_and(|target| target.as_str() == path && target.split_path().is_none())
}

#[cfg(test)]
mod tests;
