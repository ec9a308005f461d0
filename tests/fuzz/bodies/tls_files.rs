//! Certificates, keys and revocation lists, as files of our own and as what a peer's certificate authority wrote.
//!
//! Promise: reading ends with a configuration or a reason.
//!
//! Input: a byte that says what the rest is. `d`: four DER documents (certificate, key, CA, revocation list), each behind its
//! length (two bytes, big endian), which the target wraps in PEM; everything else: one PEM text for all four files.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fedgate::model::Timestamp;
use fedgate::tls::{ClientAuth, ClientFiles, ClientTls, ServerFiles, ServerTls, TlsVersions};

const NAMES: [&str; 4] = ["certificate.pem", "key.pem", "ca.pem", "crl.pem"];
const PEM_WORDS: [&str; 4] = ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE", "X509 CRL"];
/// In the life of the certificates in the corpus.
const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// Writes the files and reads them as both ends would.
pub(crate) fn run(input: &[u8]) {
    let texts = match input.split_first() {
        Some((b'd', documents)) => wrapped(documents),
        Some((_, text)) => [text.to_vec(), text.to_vec(), text.to_vec(), text.to_vec()],
        None => return,
    };
    folder(|folder| {
        let paths = NAMES.map(|name| folder.join(name));
        for (path, text) in paths.iter().zip(&texts) {
            fs::write(path, text).expect("the temporary folder can be written");
        }
        read(&paths);
    });
}

fn wrapped(mut documents: &[u8]) -> [Vec<u8>; 4] {
    PEM_WORDS.map(|word| {
        let length = documents.split_off(..2).map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
        let document = documents.split_off(..length.min(documents.len())).expect("within what is left");
        format!("-----BEGIN {word}-----\n{}\n-----END {word}-----\n", STANDARD.encode(document)).into_bytes()
    })
}

fn read([certificate, key, ca, list]: &[PathBuf; 4]) {
    let server = ServerFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: Some(ca.clone()),
        revocation_list: Some(list.clone()),
        client_auth: ClientAuth::Required,
        versions: TlsVersions::V13,
    };
    let client = ClientFiles {
        ca: Some(ca.clone()),
        certificate: Some(certificate.clone()),
        key: Some(key.clone()),
        server_name: None,
        insecure_skip_verify: false,
        versions: TlsVersions::V12AndV13,
        h2: true,
    };
    match ServerTls::load(server, NOW) {
        Ok(server) => drop((server.certificate_not_after(), server.revocation_next_update())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ClientTls::read(&client) {
        Ok(client) => {
            let identity = client.identity().expect("a client with a certificate");
            assert!(!identity.to_string().is_empty());
            let _ = client.check_validity(NOW);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

thread_local! {
    /// One folder a thread, in memory where the system has such a place.
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// Runs `with` in this thread's temporary folder.
pub(super) fn folder(with: impl FnOnce(&Path)) {
    FOLDER.with_borrow_mut(|folder| {
        let made = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
        with(folder.get_or_insert_with(made).path());
    });
}
