//! Leaves: a certificate for each name that the agent asks for, signed when it is first asked for.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{CertificateDer, DnsName, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey},
};

use crate::{Authority, TlsError, authority::DAY};

const LIFETIME_DAYS: u32 = 30;
/// A leaf is replaced well before it ends, and when the clock was set back before its beginning.
const RENEW_AFTER_DAYS: u32 = 15;
const MOST_LEAVES: usize = 2048;

/// The leaves of one sandbox. All share one key of this process; the least recently used is forgotten when
/// there are too many.
pub struct Leaves {
    authority: Authority,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    leaves: HashMap<Box<str>, Cached>,
    uses: u64,
}

struct Cached {
    leaf: Arc<CertifiedKey>,
    issued: SystemTime,
    last_use: u64,
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Leaves {
    /// Leaves to be signed by an authority.
    ///
    /// # Errors
    /// When the provider cannot make a key.
    pub fn new(authority: Authority) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Issue { name: "leaves".to_owned(), source };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = any_ecdsa_type(&der)?;
        Ok(Self { authority, key, signing, cache: Mutex::default() })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The leaf for a DNS name in A-labels, or an address; without the trailing dot, in any case.
    ///
    /// # Errors
    /// When the name is neither.
    pub fn leaf(&self, host: &str) -> Result<Arc<CertifiedKey>, TlsError> {
        self.leaf_at(host, SystemTime::now())
    }

    pub(crate) fn leaf_at(&self, host: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, TlsError> {
        let host = canonical(host);
        if let Some(leaf) = self.cached(&host, now) {
            return Ok(leaf);
        }
        // Signed outside the lock: two connections may sign the same name, and the later one stays.
        let certificate = issue(&self.authority, &self.key, &host, now)?;
        let leaf = Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&self.signing)));
        self.keep(host, Arc::clone(&leaf), now);
        Ok(leaf)
    }

    fn cached(&self, host: &str, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.uses += 1;
        let uses = cache.uses;
        let cached = cache.leaves.get_mut(host)?;
        let age = now.duration_since(cached.issued).ok()?;
        if age > DAY * RENEW_AFTER_DAYS {
            return None;
        }
        cached.last_use = uses;
        Some(Arc::clone(&cached.leaf))
    }

    fn keep(&self, host: String, leaf: Arc<CertifiedKey>, issued: SystemTime) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.leaves.len() >= MOST_LEAVES {
            let oldest = cache.leaves.iter().min_by_key(|(_, cached)| cached.last_use);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                cache.leaves.remove(&oldest);
            }
        }
        let last_use = cache.uses;
        cache.leaves.insert(host.into(), Cached { leaf, issued, last_use });
    }

    #[cfg(test)]
    pub(crate) fn cached_len(&self) -> usize {
        self.cache.lock().unwrap().leaves.len()
    }
}

fn canonical(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

pub(crate) fn issue(
    authority: &Authority,
    key: &impl PublicKeyData,
    host: &str,
    now: SystemTime,
) -> Result<CertificateDer<'static>, TlsError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![alternative_name(host)?];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, if host.len() <= 64 { host } else { "Chiton leaf" });
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * (LIFETIME_DAYS - 1)).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(key, &authority.issuer);
    leaf.map(|leaf| leaf.der().clone()).map_err(|source| TlsError::Issue { name: host.to_owned(), source })
}

fn alternative_name(host: &str) -> Result<SanType, TlsError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || TlsError::BadName(host.chars().take(253).collect());
    DnsName::try_from(host).map_err(|_| bad())?;
    host.try_into().map(SanType::DnsName).map_err(|_| bad())
}
