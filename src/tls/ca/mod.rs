//! The small private CA behind `fedgate certs` and the demo.
//!
//! A directory is the whole CA; whoever can read `ca.key` can speak for every cluster, so it belongs on a machine that is
//! neither gateway nor collector.
//!
//! | file | what |
//! |---|---|
//! | `ca.pem`, `ca.key` | the CA, ten years; key 0600 |
//! | `crl.pem` | the revocation list, there from the first day (empty), so that the gateway can name it at once |
//! | `index.json` | every certificate issued, and the number of the newest list |
//! | `collector-C.pem`, `.key` | a collector's pair (`-2`, `-3`, … for later ones); no key where a request was signed |
//! | `gateway.pem`, `.key` | the gateway's pair |
//!
//! Invariant: what the index says was issued is at least what was issued, and what it says is revoked is in the list: the
//! index is written before a certificate is handed out and before a list. Files appear whole or not at all, nothing is
//! overwritten but the index and the list, and one process works on a directory at a time. Keys are ECDSA P-256, serials
//! random: numbers in a row would tell each collector how many others there are.

mod files;
mod index;
mod names;
mod request;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, SerialNumber,
};

pub use index::{Holder, IssuedCertificate, State};

use super::serial::Serial;
use crate::model::Timestamp;
use files::Lock;
use index::Index;

/// How long the CA counts.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long what it issues counts, though never beyond the CA.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// When a revocation list wants a successor. The gateway warns after it and goes on enforcing the old one.
pub const REVOCATION_LIST_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// How far certificates reach back, for peers whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(300);

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const REVOCATION_LIST: &str = "crl.pem";

/// What went wrong with the CA.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum CaError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} holds a CA already; it is never overwritten", dir.display())]
    Exists { dir: PathBuf },
    #[error("{} holds no CA: {} is missing; make one with `fedgate certs init`", dir.display(), file)]
    NoCa { dir: PathBuf, file: &'static str },
    #[error("{}: not the index of a CA: {reason}", path.display())]
    BadIndex { path: PathBuf, reason: String },
    #[error("{found:?} cannot be a {what}: expected {expected}")]
    BadName { what: &'static str, found: String, expected: &'static str },
    #[error("{}: bad certificate request: {reason}", path.display())]
    BadRequest { path: PathBuf, reason: String },
    #[error("serial {0} was not issued by this CA; `fedgate certs list` shows what was")]
    UnknownSerial(Serial),
    #[error("serial {serial} was revoked already, at {}", super::error::utc(*at))]
    AlreadyRevoked { serial: Serial, at: Timestamp },
    #[error("the CA itself expired at {}", super::error::utc(*not_after))]
    Expired { not_after: Timestamp },
    #[error("certificate cannot be made: {0}")]
    Rcgen(#[from] rcgen::Error),
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// A CA's directory.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

/// What was just issued.
#[derive(Debug)]
pub struct Issued {
    /// As the index has it.
    pub record: IssuedCertificate,
    /// Where the certificate lies.
    pub certificate: PathBuf,
    /// Where its key lies; `None` where a request was signed.
    pub key: Option<PathBuf>,
}

impl Authority {
    /// Makes the CA, an empty revocation list and an empty index; refuses a directory that holds any of them.
    pub fn init(dir: &Path, trust_domain: &str, now: Timestamp) -> Result<Authority, CaError> {
        names::check_trust_domain(trust_domain)?;
        files::make_dir(dir)?;
        let authority = Authority { dir: dir.to_owned() };
        let _lock = Lock::take(dir)?;
        if [CA_CERTIFICATE, CA_KEY, REVOCATION_LIST, index::FILE].iter().any(|file| dir.join(file).exists()) {
            return Err(CaError::Exists { dir: dir.to_owned() });
        }
        let key = KeyPair::generate()?;
        let params = ca_params(trust_domain, now)?;
        let certificate = params.self_signed(&key)?;
        files::write_new(&dir.join(CA_KEY), &key.serialize_pem(), files::KEY_MODE)?;
        files::write_new(&dir.join(CA_CERTIFICATE), &certificate.pem(), files::PUBLIC_MODE)?;
        let mut index = Index::new(trust_domain, now + CA_LIFE);
        authority.write_revocation_list(&mut index, &Issuer::new(params, key), now)?;
        Ok(authority)
    }

    /// A directory that [`Authority::init`] made.
    pub fn open(dir: &Path) -> Result<Authority, CaError> {
        for file in [CA_CERTIFICATE, CA_KEY, index::FILE] {
            if !dir.join(file).exists() {
                return Err(CaError::NoCa { dir: dir.to_owned(), file });
            }
        }
        Ok(Authority { dir: dir.to_owned() })
    }

    /// The CA's certificate, which both sides are given as `ca_file` and `client_ca_file`.
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.join(CA_CERTIFICATE)
    }

    /// The revocation list, which the gateway is given as `crl_file`.
    pub fn revocation_list_path(&self) -> PathBuf {
        self.dir.join(REVOCATION_LIST)
    }

    /// A collector's certificate, with a key of its own.
    pub fn issue_collector(&self, cluster: &str, hosts: &[String], now: Timestamp) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        self.issue(Holder::Collector { cluster: cluster.to_owned() }, hosts, &key, Some(&key), now)
    }

    /// A collector's certificate for the key in a request (PKCS #10, PEM).
    ///
    /// Of the request only the key is taken, after its signature has shown that the sender holds it; names and uses are
    /// this CA's to give.
    pub fn sign_collector(
        &self,
        cluster: &str,
        hosts: &[String],
        request: &Path,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let key = request::public_key(request)?;
        self.issue(Holder::Collector { cluster: cluster.to_owned() }, hosts, &key, None, now)
    }

    /// The gateway's certificate; `hosts` are the names and addresses that collectors dial.
    pub fn issue_gateway(&self, hosts: &[String], now: Timestamp) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        self.issue(Holder::Gateway, hosts, &key, Some(&key), now)
    }

    fn issue(
        &self,
        holder: Holder,
        hosts: &[String],
        public: &impl PublicKeyData,
        key: Option<&KeyPair>,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let _lock = Lock::take(&self.dir)?;
        let mut index = Index::load(&self.dir)?;
        if index.ca_not_after() <= now {
            return Err(CaError::Expired { not_after: index.ca_not_after() });
        }
        let serial = Serial::random()?;
        let not_after = (now + CERTIFICATE_LIFE).min(index.ca_not_after());
        let names = names::of(&holder, index.trust_domain(), hosts)?;
        let certificate = leaf_params(&holder, &names, &serial, now, not_after)?.signed_by(public, &self.issuer()?)?;
        let (certificate_path, key_path) = files::free_pair(&self.dir, &holder.file_stem());
        let record = IssuedCertificate { serial, holder, names: names::shown(&names), not_after, revoked: None };
        index.add(record.clone());
        index.store(&self.dir)?;
        if let Some(key) = key {
            files::write_new(&key_path, &key.serialize_pem(), files::KEY_MODE)?;
        }
        files::write_new(&certificate_path, &certificate.pem(), files::PUBLIC_MODE)?;
        Ok(Issued { record, certificate: certificate_path, key: key.map(|_| key_path) })
    }

    /// Puts a certificate on the list; the gateway refuses it as soon as it has the new file.
    pub fn revoke(&self, serial: &Serial, now: Timestamp) -> Result<IssuedCertificate, CaError> {
        let _lock = Lock::take(&self.dir)?;
        let mut index = Index::load(&self.dir)?;
        let record = index.revoke(serial, now)?;
        self.write_revocation_list(&mut index, &self.issuer()?, now)?;
        Ok(record)
    }

    /// Everything ever issued, oldest first.
    pub fn list(&self) -> Result<Vec<IssuedCertificate>, CaError> {
        Ok(Index::load(&self.dir)?.into_issued())
    }

    /// The index first: a number that was given to no list is harmless, one that was given to two is not.
    fn write_revocation_list(
        &self,
        index: &mut Index,
        issuer: &Issuer<'_, KeyPair>,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let date = |time| rcgen::date_time_ymd(1970, 1, 1) + since_epoch(time);
        let number = index.next_list_number();
        index.store(&self.dir)?;
        let revoked = index.revoked().map(|(serial, at)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.octets()),
            revocation_time: date(at),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date(now - BACKDATE),
            next_update: date(now + REVOCATION_LIST_LIFE),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(issuer)?.pem()?;
        files::replace(&self.dir.join(REVOCATION_LIST), &pem, files::PUBLIC_MODE)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CaError> {
        let key = KeyPair::from_pem(&files::read(&self.dir.join(CA_KEY))?)?;
        Ok(Issuer::from_ca_cert_pem(&files::read(&self.dir.join(CA_CERTIFICATE))?, key)?)
    }
}

fn ca_params(trust_domain: &str, now: Timestamp) -> Result<CertificateParams, CaError> {
    let date = |time| rcgen::date_time_ymd(1970, 1, 1) + since_epoch(time);
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    // A name of its own for each CA: after a change of CA, certificates and lists of both are told apart by it.
    let serial = Serial::random()?;
    let name = format!("fedgate CA {trust_domain} {:.8}", serial.to_string());
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(serial.octets()));
    params.not_before = date(now - BACKDATE);
    params.not_after = date(now + CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn leaf_params(
    holder: &Holder,
    names: &[SanType],
    serial: &Serial,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, CaError> {
    let date = |time| rcgen::date_time_ymd(1970, 1, 1) + since_epoch(time);
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, holder.to_string());
    params.serial_number = Some(SerialNumber::from_slice(serial.octets()));
    params.not_before = date(now - BACKDATE);
    params.not_after = date(not_after);
    params.subject_alt_names = names.to_vec();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match holder {
        Holder::Collector { .. } => ExtendedKeyUsagePurpose::ClientAuth,
        Holder::Gateway => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Certificates know whole seconds. Their dates are a type of another package, reached here from its epoch so that the
/// package need not be named.
fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_millis() / 1000).unwrap_or(0))
}
