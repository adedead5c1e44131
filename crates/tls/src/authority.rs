//! The certificate authority of one sandbox.

use std::time::{Duration, SystemTime};

use chiton_secret::SecretValue;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use zeroize::Zeroizing;

use crate::TlsError;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A sandbox may live long; its authority is trusted by nobody outside it and dies with it.
const LIFETIME: Duration = DAY.saturating_mul(397);
const ORGANIZATION: &str = "Chiton sandbox";

/// Signs the leaves of one sandbox. The key never enters the sandbox; the certificate does.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new key and a certificate for it that names the sandbox.
    ///
    /// # Errors
    /// When the provider cannot make a key.
    pub fn generate(sandbox: &str) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Issue { name: sandbox.to_owned(), source };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = params(common_name(sandbox));
        let now = SystemTime::now();
        params.not_before = (now - DAY).into();
        params.not_after = (now + LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(failed)?;
        let pem = certificate.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), pem })
    }

    /// Takes up an authority that [`Authority::generate`] made.
    ///
    /// # Errors
    /// When either cannot be read, or a leaf signed by the key does not verify by the certificate.
    pub fn from_pem(certificate: &str, key: &SecretValue) -> Result<Self, TlsError> {
        let bad = TlsError::BadAuthority;
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| bad("no certificate"))?;
        let key = std::str::from_utf8(key.dangerous_expose()).map_err(|_| bad("the key is not PEM"))?;
        let key = KeyPair::from_pem(key).map_err(|_| bad("the key is not a private key in PEM form"))?;
        let name = own_name(&der).ok_or(bad("the certificate is not one of ours"))?;
        let issuer = Issuer::new(params(name), key);
        let authority = Self { issuer, certificate: der, pem: certificate.to_owned() };
        authority.prove()?;
        Ok(authority)
    }

    /// The certificate, PEM: what the sandbox trusts.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key, PEM, for the link to the proxy and a file of mode 0600.
    #[must_use]
    pub fn key_pem(&self) -> SecretValue {
        let pem = Zeroizing::new(self.issuer.key().serialize_pem());
        SecretValue::new(pem.as_bytes().to_vec())
    }

    /// Signs a leaf and verifies it as a client would.
    fn prove(&self) -> Result<(), TlsError> {
        let bad = TlsError::BadAuthority;
        let name = "proof.chiton.internal";
        let leaf_key = KeyPair::generate().map_err(|_| bad("no key can be made"))?;
        let leaf = crate::leaf::issue(self, &leaf_key, name, SystemTime::now())?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|_| bad("the certificate cannot be a root"))?;
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            roots.into(),
            crate::upstream::provider(),
        );
        let verifier = verifier.build().map_err(|_| bad("the certificate cannot be a root"))?;
        let name = ServerName::try_from(name).map_err(|_| bad("the proof's name"))?;
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &leaf,
            &[],
            &name,
            &[],
            UnixTime::now(),
        )
        .map_err(|_| bad("certificate and key do not belong together, or it has expired"))?;
        Ok(())
    }
}

fn params(name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// At most 64 bytes, which is X.520's bound.
fn common_name(sandbox: &str) -> String {
    let name = format!("{ORGANIZATION} {sandbox}");
    name.get(..name.floor_char_boundary(64)).unwrap_or(ORGANIZATION).to_owned()
}

/// The common name that [`params`] wrote: the object identifier 2.5.4.3, then a UTF-8 string. What is found is
/// proved afterwards, so that a wrong find cannot pass.
fn own_name(der: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03, 0x0c];
    let at = der.windows(COMMON_NAME.len()).position(|window| window == COMMON_NAME)?;
    let (length, rest) = der.get(at + COMMON_NAME.len()..)?.split_first()?;
    let name = rest.get(..usize::from(*length))?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}
