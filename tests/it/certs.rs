//! `fedgate certs`, the program itself: what it writes, with which modes, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use fedgate::model::Timestamp;
use fedgate::runtime::clock;
use fedgate::tls::ca::{Authority, CaError, State};
use tempfile::TempDir;
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate, parse_x509_pem};

fn certs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fedgate")).arg("certs").args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = certs(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The words on standard error of what must fail with code 1.
fn refused(args: &[&str]) -> String {
    let output = certs(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The DER inside a PEM file.
fn der(path: &Path) -> Vec<u8> {
    parse_x509_pem(&fs::read(path).unwrap()).unwrap().1.contents
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = |name: &GeneralName<'_>| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None };
    names.value.general_names.iter().filter_map(uri).collect()
}

#[test]
fn a_ca_from_its_making_to_a_revocation() {
    let temp = TempDir::new().unwrap();
    let (dir, path) = (temp.path().join("ca"), temp.path().join("ca").display().to_string());
    let told = done(&["init", &path, "--trust-domain", "hpc.example"]);
    assert!(told.contains("next: fedgate certs gateway"), "{told}");
    let told = done(&["gateway", &path, "--host", "gateway.hpc.example", "--host", "10.0.0.1"]);
    assert!(told.contains("crl_file: crl.pem") && told.contains("cert_file: gateway.pem"), "{told}");
    let told = done(&["issue", &path, "--cluster", "alpha", "--environment", "production"]);
    assert!(told.contains("identities: [\"spiffe://hpc.example/collector/alpha\"]"), "{told}");
    assert!(told.contains("environment: \"production\""), "{told}");
    done(&["issue", &path, "--cluster", "alpha"]);

    for key in ["ca.key", "gateway.key", "collector-alpha.key", "collector-alpha-2.key"] {
        assert_eq!(mode(&dir.join(key)), 0o600, "{key}");
    }
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ca.pem")), 0o644);

    let listed = done(&["list", &path]);
    let rows: Vec<&str> = listed.lines().skip(1).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.contains(" valid ")), "{listed}");
    let serial = rows[1].split_whitespace().next().unwrap();
    let told = done(&["revoke", &path, serial]);
    assert!(told.contains("nothing is restarted"), "{told}");
    let listed = done(&["list", &path]);
    assert!(listed.lines().any(|row| row.starts_with(serial) && row.contains(" revoked ")), "{listed}");
    assert!(refused(&["revoke", &path, serial]).contains("revoked already"));
}

#[test]
fn a_certificate_says_what_its_holder_may() {
    let temp = TempDir::new().unwrap();
    let ca = Authority::init(&temp.path().join("ca"), "hpc.example", clock::now()).unwrap();
    let authority = der(&ca.certificate_path());
    let (_, authority) = X509Certificate::from_der(&authority).unwrap();
    assert!(authority.is_ca());
    assert_eq!(days(&authority), 3650);

    let collector = ca.issue_collector("alpha", &["alpha.example".to_owned()], clock::now()).unwrap();
    let bytes = der(&collector.certificate);
    let (_, leaf) = X509Certificate::from_der(&bytes).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(days(&leaf), 365);
    assert_eq!(uris(&leaf), ["spiffe://hpc.example/collector/alpha"]);
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.client_auth && !uses.server_auth);
    assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial()[0] < 0x80);
    assert!(leaf.verify_signature(Some(authority.public_key())).is_ok());
    assert!(leaf.public_key().parsed().is_ok_and(|key| key.key_size() == 256), "ECDSA P-256");

    let gateway = ca.issue_gateway(&["gateway.example".to_owned()], clock::now()).unwrap();
    let bytes = der(&gateway.certificate);
    let (_, leaf) = X509Certificate::from_der(&bytes).unwrap();
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && !uses.client_auth);
}

fn days(certificate: &X509Certificate<'_>) -> i64 {
    let validity = certificate.validity();
    (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400
}

#[test]
fn nothing_is_overwritten() {
    let temp = TempDir::new().unwrap();
    let (dir, path) = (temp.path().join("ca"), temp.path().join("ca").display().to_string());
    done(&["init", &path]);
    let before = fs::read(dir.join("ca.key")).unwrap();
    assert!(refused(&["init", &path]).contains("never overwritten"));
    fs::remove_file(dir.join("index.json")).unwrap();
    assert!(refused(&["init", &path]).contains("never overwritten"), "a rest of a CA is a CA");
    assert_eq!(fs::read(dir.join("ca.key")).unwrap(), before);
    assert!(refused(&["issue", &path, "--cluster", "alpha"]).contains("index.json is missing"));
    assert!(refused(&["list", &temp.path().join("none").display().to_string()]).contains("holds no CA"));
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let temp = TempDir::new().unwrap();
    let ca = Authority::init(&temp.path().join("ca"), "hpc.example", clock::now()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wishes = rcgen::CertificateParams::new(vec!["gateway.hpc.example".to_owned()]).unwrap();
    wishes.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let name = "spiffe://hpc.example/collector/beta".to_owned();
    wishes.subject_alt_names.push(rcgen::SanType::URI(name.try_into().unwrap()));
    let request = temp.path().join("request.pem");
    fs::write(&request, wishes.serialize_request(&key).unwrap().pem().unwrap()).unwrap();

    let path = temp.path().join("ca").display().to_string();
    let told = done(&["issue", &path, "--cluster", "alpha", "--csr", &request.display().to_string()]);
    assert!(told.contains("the requester's"), "{told}");
    assert!(!temp.path().join("ca/collector-alpha.key").exists());
    let bytes = der(&temp.path().join("ca/collector-alpha.pem"));
    let (_, leaf) = X509Certificate::from_der(&bytes).unwrap();
    assert_eq!(uris(&leaf), ["spiffe://hpc.example/collector/alpha"]);
    assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
    assert!(!leaf.is_ca());
    assert_eq!(&*leaf.public_key().subject_public_key.data, key.public_key_raw());
    assert_eq!(ca.list().unwrap().len(), 1);
}

#[test]
fn a_request_whose_signature_is_not_its_key_s_is_refused() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("ca").display().to_string();
    done(&["init", &path]);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut forged = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let pem = |bytes: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    };
    let request = temp.path().join("request.pem");
    for (content, reason) in [
        (pem(&forged), "its signature is not by the key in it"),
        (key.serialize_pem(), "expected a block BEGIN CERTIFICATE REQUEST"),
        (String::new(), "expected a block BEGIN CERTIFICATE REQUEST"),
    ] {
        fs::write(&request, content).unwrap();
        let told = refused(&["issue", &path, "--cluster", "alpha", "--csr", &request.display().to_string()]);
        assert!(told.contains(reason), "{told}");
    }
    assert_eq!(done(&["list", &path]).lines().count(), 1, "nothing was issued");
}

#[test]
fn names_that_make_no_identity_are_refused() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("ca").display().to_string();
    assert!(refused(&["init", &path, "--trust-domain", "HPC Example"]).contains("trust domain"));
    done(&["init", &path]);
    assert!(refused(&["issue", &path, "--cluster", "../alpha"]).contains("cannot be a cluster"));
    assert!(refused(&["gateway", &path, "--host", "gateway:9491"]).contains("cannot be a host"));
    assert!(refused(&["revoke", &path, "not-hex"]).contains("no serial"));
    assert!(refused(&["revoke", &path, "00ff"]).contains("not issued by this CA"));
}

#[test]
fn revocation_lists_are_numbered_upwards_and_name_all_revoked() {
    let temp = TempDir::new().unwrap();
    let ca = Authority::init(&temp.path().join("ca"), "hpc.example", clock::now()).unwrap();
    let mut last = 0;
    for revoked in 0..3 {
        let bytes = der(&ca.revocation_list_path());
        let (_, list) = CertificateRevocationList::from_der(&bytes).unwrap();
        let number: u64 = list.crl_number().unwrap().try_into().unwrap();
        assert!(number > last);
        last = number;
        assert_eq!(list.iter_revoked_certificates().count(), revoked);
        assert!(list.next_update().unwrap().timestamp() * 1000 > clock::now().as_millis());
        let issued = ca.issue_collector("alpha", &[], clock::now()).unwrap();
        ca.revoke(&issued.record.serial, clock::now()).unwrap();
    }
    assert!(ca.list().unwrap().iter().all(|one| one.state(clock::now()) == State::Revoked));
}

#[test]
fn nothing_outlives_the_ca() {
    let temp = TempDir::new().unwrap();
    let year = std::time::Duration::from_secs(365 * 86_400);
    let ca = Authority::init(&temp.path().join("ca"), "hpc.example", clock::now() - 10 * year + year / 2).unwrap();
    let issued = ca.issue_collector("alpha", &[], clock::now()).unwrap();
    assert!(issued.record.not_after < clock::now() + year * 51 / 100);
    let later = Timestamp(issued.record.not_after.as_millis() + 1);
    assert!(matches!(ca.issue_collector("alpha", &[], later), Err(CaError::Expired { .. })));
}

#[test]
fn two_at_once_lose_nothing() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("ca");
    Authority::init(&dir, "hpc.example", clock::now()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let ca = Authority::open(&dir).unwrap();
                (0..5).for_each(|_| drop(ca.issue_collector("alpha", &[], clock::now()).unwrap()));
            });
        }
    });
    assert_eq!(Authority::open(&dir).unwrap().list().unwrap().len(), 20);
    let files = fs::read_dir(&dir)
        .unwrap()
        .filter(|one| one.as_ref().unwrap().file_name().to_string_lossy().starts_with("collector-"));
    assert_eq!(files.count(), 40);
}
