//! What can go wrong with certificates and keys. No message holds a key.

/// Why a certificate, a key or a configuration could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a certificate for `{name}`: {source}")]
    Issue {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The name is neither a DNS name (A-labels) nor an address.
    #[error("cannot make a certificate for `{0}`: it is neither a DNS name in ASCII nor an address")]
    BadName(String),
    /// The authority's certificate or key cannot be read, or the two do not belong together.
    #[error("the sandbox's authority cannot be used: {0}; recreate the sandbox")]
    BadAuthority(&'static str),
    /// A file of certificates holds none, or one that is not one.
    #[error("{place} is no certificate in PEM form: {why}")]
    BadCertificate {
        /// The file or setting, and which of its certificates.
        place: String,
        /// Why.
        why: String,
    },
    /// There is nothing to trust.
    #[error(
        "no upstream server can be verified: {0}; install the system's CA certificates, or name one in `[upstream] extra_ca`"
    )]
    NoRoots(String),
    /// rustls refused a configuration.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}
