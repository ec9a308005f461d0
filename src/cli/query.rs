//! `fedgate query`: a PromQL expression, asked of a gateway or of anything else with Prometheus's query API.
//!
//! What is printed is what promtool prints; what the evaluation says beside its result goes to standard error, so that a
//! script reads values alone.

mod printed;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use url::Url;

use super::print;
use crate::config::{Authorization, BasicAuth, HttpClientConfig, TlsClientConfig};
use crate::http::api::params::parse_time;
use crate::model::{Timestamp, parse_duration};
use crate::net::client::{Body, ClientError, HttpClient, read_limited};
use crate::runtime::{block_on, clock};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// Length of a range that has no start.
const RANGE_DEFAULT: Duration = Duration::from_secs(300);
/// Points of a range that has no step, as promtool has them.
const POINTS_DEFAULT: i64 = 250;

/// Evaluate a PromQL expression on a server: at one time, or with --start, --end or --step over a range.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server, like http://localhost:9490; a path is kept.
    #[arg(value_name = "URL", value_parser = parse_url)]
    pub url: Url,
    /// The expression.
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// When: RFC 3339 or seconds since 1970. Default: now.
    #[arg(long, value_parser = parse_time, conflicts_with_all = ["start", "end", "step"])]
    pub time: Option<Timestamp>,
    /// First time of a range. Default: five minutes before its end.
    #[arg(long, value_parser = parse_time)]
    pub start: Option<Timestamp>,
    /// Last time of a range. Default: now.
    #[arg(long, value_parser = parse_time)]
    pub end: Option<Timestamp>,
    /// Time between two evaluations, like 30s. Default: a 250th of the range, a second at least.
    #[arg(long, value_parser = parse_duration)]
    pub step: Option<Duration>,
    /// Longest to wait for the answer.
    #[arg(long, default_value = "2m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// How to prove who asks.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// Certificates and passwords; secrets are read from files, so that no list of processes shows them.
#[derive(Debug, clap::Args)]
pub struct Credentials {
    /// PEM file of the CAs to trust. Default: the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of a client certificate.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    pub insecure_skip_verify: bool,
    /// User's name.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// File of the user's password.
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// File of a bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    pub bearer_token_file: Option<PathBuf>,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|fault| fault.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("scheme {other:?}, expected http or https")),
    }
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{kind}: {text}")]
    Refused { kind: String, text: String },
    #[error("status {status}, and the body is no answer of a query API: {body}")]
    Foreign { status: u16, body: String },
}

/// Asks, prints, and says with its exit code whether there was a result.
pub fn run(args: Args) -> ExitCode {
    let asked = block_on(1, ask(&args)).map_err(QueryError::Start).and_then(|answer| answer);
    match asked {
        Ok(answer) => {
            for note in ["warnings", "infos"].iter().filter_map(|kind| answer[*kind].as_array()).flatten() {
                eprintln!("{}", note.as_str().unwrap_or_default());
            }
            print(&printed::result(&answer["data"]));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("query error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(args: &Args) -> Result<Value, QueryError> {
    let client = HttpClient::new(&client_config(&args.credentials))?;
    let url = query_url(args, clock::now());
    let reading = async {
        let answer = client.get(url, &HeaderMap::new()).await?;
        let (status, mut body) = (answer.status().as_u16(), Body::default());
        read_limited(answer, ANSWER_BYTES_MAX, &mut body).await?;
        Ok((status, body))
    };
    let read: Result<_, ClientError> =
        tokio::time::timeout(args.timeout, reading).await.map_err(|_| QueryError::TimedOut(args.timeout))?;
    let (status, body) = read?;
    of_body(status, &body)
}

fn of_body(status: u16, body: &[u8]) -> Result<Value, QueryError> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    match answer["status"].as_str() {
        Some("success") => Ok(answer),
        Some("error") => Err(QueryError::Refused { kind: text("errorType"), text: text("error") }),
        _ => Err(QueryError::Foreign { status, body: String::from_utf8_lossy(body).chars().take(200).collect() }),
    }
}

fn client_config(credentials: &Credentials) -> HttpClientConfig {
    let basic = credentials.username.clone().map(|username| BasicAuth {
        username,
        password_file: credentials.password_file.clone(),
        ..BasicAuth::default()
    });
    let bearer = credentials.bearer_token_file.clone();
    let bearer = bearer.map(|file| Authorization { credentials_file: Some(file), ..Authorization::default() });
    HttpClientConfig {
        basic_auth: basic,
        authorization: bearer,
        tls_config: TlsClientConfig {
            ca_file: credentials.ca_file.clone(),
            cert_file: credentials.cert_file.clone(),
            key_file: credentials.key_file.clone(),
            insecure_skip_verify: credentials.insecure_skip_verify,
            ..TlsClientConfig::default()
        },
        ..HttpClientConfig::default()
    }
}

fn query_url(args: &Args, now: Timestamp) -> Url {
    let is_range = args.start.is_some() || args.end.is_some() || args.step.is_some();
    let mut url = args.url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["api", "v1", if is_range { "query_range" } else { "query" }]);
    }
    let seconds = |time: Timestamp| format!("{:.3}", time.as_seconds());
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("query", &args.expression);
    if is_range {
        let end = args.end.unwrap_or(now);
        let start = args.start.unwrap_or(end - RANGE_DEFAULT);
        let step = args.step.map_or_else(|| default_step(start, end), |step| step.as_secs_f64());
        pairs.append_pair("start", &seconds(start)).append_pair("end", &seconds(end));
        pairs.append_pair("step", &step.to_string());
    } else {
        pairs.append_pair("time", &seconds(args.time.unwrap_or(now)));
    }
    drop(pairs);
    url
}

fn default_step(start: Timestamp, end: Timestamp) -> f64 {
    ((end.as_millis() - start.as_millis()) / 1000 / POINTS_DEFAULT).max(1) as f64
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn url(line: &[&str]) -> String {
        let line = Line::try_parse_from([&["query"], line].concat()).unwrap();
        query_url(&line.args, Timestamp(1_000_500)).to_string()
    }

    #[test]
    fn a_range_is_what_has_a_start_an_end_or_a_step() {
        assert_eq!(url(&["h:1", "up"]), "http://h:1/api/v1/query?query=up&time=1000.500");
        assert_eq!(url(&["http://h/x/", "a+b", "--time", "7"]), "http://h/x/api/v1/query?query=a%2Bb&time=7.000");
        assert_eq!(
            url(&["http://h", "up", "--start", "0", "--end", "1970-01-01T01:00:00Z"]),
            "http://h/api/v1/query_range?query=up&start=0.000&end=3600.000&step=14"
        );
        assert_eq!(
            url(&["http://h", "up", "--step", "1m30s"]),
            "http://h/api/v1/query_range?query=up&start=700.500&end=1000.500&step=90"
        );
    }

    #[test]
    fn what_is_no_answer_is_shown() {
        let refused = of_body(422, br#"{"status":"error","errorType":"execution","error":"many-to-many"}"#);
        assert_eq!(refused.unwrap_err().to_string(), "execution: many-to-many");
        let foreign = of_body(404, b"404 page not found").unwrap_err().to_string();
        assert_eq!(foreign, "status 404, and the body is no answer of a query API: 404 page not found");
    }
}
