//! The servers' side: what is trusted, and configurations that verify it.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::CertificateResult;

use crate::TlsError;

/// Where Debian, Fedora, SUSE and Alpine keep the system's roots in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A protocol to offer upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    Http2OrHttp1,
    /// HTTP/1.1 only, as an upgrade needs it.
    Http1,
}

/// What upstream servers are verified against.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The roots.
    pub store: Arc<RootCertStore>,
    /// Files of the system that could not be read, one line each; the rest is used.
    pub problems: Vec<String>,
}

impl Roots {
    /// The system's roots, and the operator's `extra` (PEM, one or more certificates each).
    ///
    /// # Errors
    /// When one of the operator's is bad, or nothing at all is left to trust.
    pub fn load(extra: &[String]) -> Result<Self, TlsError> {
        let system = system_roots();
        let mut problems: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        let mut store = RootCertStore::empty();
        let (_, unusable) = store.add_parsable_certificates(system.certs);
        if unusable > 0 {
            problems.push(format!("{unusable} of the system's certificates cannot be roots"));
        }
        add_extra(&mut store, extra)?;
        if store.is_empty() {
            let why = problems.first().map_or("the system has no roots", String::as_str);
            return Err(TlsError::NoRoots(why.to_owned()));
        }
        Ok(Self { store: Arc::new(store), problems })
    }

    /// The given roots alone.
    ///
    /// # Errors
    /// When one is bad, or there is none.
    pub fn only(pem: &[String]) -> Result<Self, TlsError> {
        let roots = Self::of(pem)?;
        if roots.store.is_empty() {
            return Err(TlsError::NoRoots("none were given".to_owned()));
        }
        Ok(roots)
    }

    /// The given roots, of which there may be none.
    ///
    /// # Errors
    /// When one is bad.
    pub fn of(pem: &[String]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        add_extra(&mut store, pem)?;
        Ok(Self { store: Arc::new(store), problems: Vec::new() })
    }
}

/// The system's roots, found and not read yet. A process that will give up its files opens them by this, and reads
/// them when it first needs them: a hundred and more certificates cost a millisecond, and many a sandbox never asks.
#[derive(Debug)]
pub enum SystemRoots {
    /// In one file.
    File(File),
    /// Where there is no such file: read already, if there are any.
    Read(Option<Roots>),
}

impl SystemRoots {
    /// Finds them.
    #[must_use]
    pub fn open() -> Self {
        let bundle = BUNDLES.iter().find_map(|path| File::open(path).ok());
        bundle.map_or_else(|| Self::Read(Roots::load(&[]).ok()), Self::File)
    }

    /// Reads them, and adds the operator's.
    ///
    /// # Errors
    /// When nothing at all is left to trust.
    pub fn with(&self, extra: &Roots) -> Result<Roots, TlsError> {
        let mut store = RootCertStore::clone(&extra.store);
        match self {
            Self::File(file) => {
                let mut pem = Vec::new();
                let read = file.metadata().and_then(|about| {
                    pem.resize(usize::try_from(about.len()).unwrap_or(0), 0);
                    file.read_exact_at(&mut pem, 0)
                });
                if read.is_ok() {
                    let found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
                    store.add_parsable_certificates(found);
                }
            }
            Self::Read(read) => {
                store.extend(read.iter().flat_map(|roots| roots.store.roots.iter().cloned()));
            }
        }
        if store.is_empty() {
            return Err(TlsError::NoRoots("the system has no roots".to_owned()));
        }
        Ok(Roots { store: Arc::new(store), problems: Vec::new() })
    }
}

/// One file where the system keeps them in one, which is read in a tenth of the time that the folder of the
/// same certificates takes, link by link.
fn system_roots() -> CertificateResult {
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let read = bundle.map(|bundle| rustls_native_certs::load_certs_from_paths(Some(bundle), None));
    match read {
        Some(found) if !found.certs.is_empty() => found,
        Some(_) | None => rustls_native_certs::load_native_certs(),
    }
}

/// The system's roots as PEM texts, for a process of ours where there are none. What cannot be a root is left out.
#[must_use]
pub fn system_roots_pem() -> Vec<String> {
    usable(&BUNDLES.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default())
}

/// Each certificate of a bundle that can be a root, as it stands there.
pub(crate) fn usable(bundle: &str) -> Vec<String> {
    let sections = bundle.split_inclusive("-----END CERTIFICATE-----");
    let of_one = |section: &str| {
        let text = section.get(section.find("-----BEGIN CERTIFICATE-----")?..)?;
        Some(format!("{text}\n"))
    };
    sections.filter_map(of_one).filter(|pem| Roots::of(std::slice::from_ref(pem)).is_ok()).collect()
}

fn add_extra(store: &mut RootCertStore, extra: &[String]) -> Result<(), TlsError> {
    for (index, pem) in extra.iter().enumerate() {
        let place = format!("`extra_ca[{index}]`");
        for (number, certificate) in parse_certificates(&place, pem)?.into_iter().enumerate() {
            store.add(certificate).map_err(|error| TlsError::BadCertificate {
                place: format!("certificate {} of {place}", number + 1),
                why: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// Every certificate of a PEM text, for a caller who knows what to call it (`place`: a file, a setting).
///
/// # Errors
/// When there is none, or one is not one.
pub fn parse_certificates(place: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |place: String, why: String| TlsError::BadCertificate { place, why };
    let mut found = Vec::new();
    for (number, item) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let place = || format!("certificate {} of {place}", number + 1);
        let der = item.map_err(|error| bad(place(), error.to_string()))?;
        rustls::server::ParsedCertificate::try_from(&der).map_err(|error| bad(place(), error.to_string()))?;
        found.push(der);
    }
    if found.is_empty() {
        return Err(bad(place.to_owned(), "it holds no `BEGIN CERTIFICATE`".to_owned()));
    }
    Ok(found)
}

/// A configuration that verifies the server by these roots, and offers no certificate of ours.
///
/// # Errors
/// Never with the provider that is built in.
pub fn client_config(roots: &Roots, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(&roots.store))
        .with_no_client_auth();
    config.alpn_protocols = match alpn {
        Alpn::Http2OrHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// AWS-LC. AES of 128 bits before 256, as browsers have it: every byte is decrypted and encrypted again here, and no
/// attack is known that the longer key would stop.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    Arc::new(provider)
}

const fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}
