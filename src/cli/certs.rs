//! `fedgate certs`: a small private CA for collectors and gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::model::Timestamp;
use crate::runtime::clock;
use crate::tls::SerialError;
use crate::tls::ca::{Authority, CaError, Issued, IssuedCertificate};

/// Keep a small private CA in a directory: keys 0600, certificates one year, the CA ten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `fedgate certs` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the CA: its key, its certificate and an empty revocation list.
    Init {
        /// Directory of the CA; it must not hold one already.
        dir: PathBuf,
        /// Trust domain of the identities: spiffe://DOMAIN/collector/CLUSTER.
        #[arg(long, default_value = "fedgate", value_name = "DOMAIN")]
        trust_domain: String,
    },
    /// Issue a collector's certificate.
    Issue {
        /// Directory of the CA.
        dir: PathBuf,
        /// The cluster that the collector speaks for.
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// The cluster's environment, for the inventory entry that is printed.
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// DNS names to put into the certificate beside the identity.
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// Sign this request instead of making a key, so that the key never travels.
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
    },
    /// Issue the gateway's certificate.
    Gateway {
        /// Directory of the CA.
        dir: PathBuf,
        /// Names and addresses under which collectors reach the gateway.
        #[arg(long, required = true, value_name = "NAME")]
        host: Vec<String>,
    },
    /// Revoke a certificate and write the revocation list.
    Revoke {
        /// Directory of the CA.
        dir: PathBuf,
        /// Serial number, as `list` shows it.
        serial: String,
    },
    /// List what was issued: serial, identity, expiry, state.
    List {
        /// Directory of the CA.
        dir: PathBuf,
    },
}

/// Does what was asked and says the next step.
pub fn run(args: Args) -> ExitCode {
    match done(args.command, clock::now()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("fedgate certs: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What the user reads afterwards.
fn done(command: Command, now: Timestamp) -> Result<String, Fault> {
    Ok(match command {
        Command::Init { dir, trust_domain } => report_init(&dir, &Authority::init(&dir, &trust_domain, now)?),
        Command::Issue { dir, cluster, environment, host, csr } => {
            let authority = Authority::open(&dir)?;
            let issued = match csr {
                Some(request) => authority.sign_collector(&cluster, &host, &request, now)?,
                None => authority.issue_collector(&cluster, &host, now)?,
            };
            report_collector(&authority, &issued, &cluster, environment.as_deref())
        }
        Command::Gateway { dir, host } => {
            let authority = Authority::open(&dir)?;
            report_gateway(&authority, &authority.issue_gateway(&host, now)?)
        }
        Command::Revoke { dir, serial } => {
            let authority = Authority::open(&dir)?;
            let revoked = authority.revoke(&serial.parse()?, now)?;
            report_revoked(&authority, &revoked)
        }
        Command::List { dir } => table(&Authority::open(&dir)?.list()?, now),
    })
}

/// What `fedgate certs` stumbles over.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Serial(#[from] SerialError),
}

fn report_init(dir: &Path, authority: &Authority) -> String {
    let dir = dir.display();
    format!(
        "CA made:            {}
its key:            {dir}/ca.key (whoever has it can speak for every cluster: it stays on this machine)
revocation list:    {} (empty)

next: fedgate certs gateway {dir} --host NAME-OF-THE-GATEWAY
      fedgate certs issue {dir} --cluster NAME --environment NAME
",
        authority.certificate_path().display(),
        authority.revocation_list_path().display(),
    )
}

fn report_files(issued: &Issued) -> String {
    let key = issued.key.as_ref().map_or("the requester's".to_owned(), |key| key.display().to_string());
    format!(
        "certificate:        {}
its key:            {key}
names:              {}
serial:             {}
ends:               {}
",
        issued.certificate.display(),
        issued.record.names.join(", "),
        issued.record.serial,
        date(issued.record.not_after),
    )
}

fn report_collector(authority: &Authority, issued: &Issued, cluster: &str, environment: Option<&str>) -> String {
    let environment = environment.map(|name| format!("\n        environment: {name:?}")).unwrap_or_default();
    let key = issued.key.as_ref().map_or("KEY".to_owned(), |path| file_name(path));
    format!(
        "{}
next: copy the certificate, its key and {} to the collector, and name them in its file:
    push:
      tls_config: {{ca_file: ca.pem, cert_file: {}, key_file: {key}}}
  then let the gateway know the cluster:
    push:
      clusters:
      - cluster: {cluster:?}{environment}
        identities: [{:?}]
",
        report_files(issued),
        authority.certificate_path().display(),
        file_name(&issued.certificate),
        issued.record.names[0],
    )
}

fn report_gateway(authority: &Authority, issued: &Issued) -> String {
    let key = issued.key.as_ref().map_or("KEY".to_owned(), |path| file_name(path));
    format!(
        "{}
next: copy the certificate, its key, {} and {} to the gateway, and name them in its file:
    push:
      tls_config: {{cert_file: {}, key_file: {key}, client_ca_file: ca.pem, crl_file: crl.pem}}
",
        report_files(issued),
        authority.certificate_path().display(),
        authority.revocation_list_path().display(),
        file_name(&issued.certificate),
    )
}

fn report_revoked(authority: &Authority, revoked: &IssuedCertificate) -> String {
    format!(
        "revoked:            {} ({}, {})
revocation list:    {}

next: copy the list over the gateway's crl_file. The gateway sees it within seconds and refuses the holder, also on open
      connections; nothing is restarted.
",
        revoked.serial,
        revoked.holder,
        revoked.names.join(", "),
        authority.revocation_list_path().display(),
    )
}

fn table(issued: &[IssuedCertificate], now: Timestamp) -> String {
    let mut text = format!("{:<32}  {:<7}  {:<20}  {:<20}  NAMES\n", "SERIAL", "STATE", "ENDS", "HOLDER");
    for one in issued {
        let (serial, holder, names) = (one.serial.to_string(), one.holder.to_string(), one.names.join(", "));
        let ends = date(one.not_after);
        text.push_str(&format!("{serial:<32}  {:<7}  {ends:<20}  {holder:<20}  {names}\n", one.state(now)));
    }
    text
}

fn date(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_millis() / 1000).map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// Both ends keep their files beside their configuration, to which relative paths are relative.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
