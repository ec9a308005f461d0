//! The command line as a user meets it: the real program, its output and its exit codes.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn fedgate(args: &[&str]) -> Output {
    fedgate_with(args, "")
}

/// Runs the program with a text on standard input.
fn fedgate_with(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fedgate"))
        .args(args)
        .env_remove("FEDGATE_LOG_LEVEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input has closed it, and that is fine.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn help_names_every_subcommand() {
    let output = fedgate(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for command in ["demo", "gateway", "collector", "certs", "check", "query", "completions", "man"] {
        assert!(stdout(&output).contains(&format!("\n  {command} ")), "{command}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_was_meant() {
    let output = fedgate(&["gatewy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("gateway"));
    assert_eq!(fedgate(&["gateway"]).status.code(), Some(2), "--config is required");
    assert_eq!(fedgate(&["--log-level", "louder", "check", "metrics"]).status.code(), Some(2));
    assert_eq!(fedgate(&["demo", "--clusters", "0"]).status.code(), Some(2));
    assert_eq!(fedgate(&["demo", "--interval", "15"]).status.code(), Some(2));
}

/// A directory with a private CA in `ca/`, made by the program itself.
fn site_with_certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca").display().to_string();
    for args in [
        &["certs", "init", &ca][..],
        &["certs", "gateway", &ca, "--host", "gateway"],
        &["certs", "issue", &ca, "--cluster", "alpha"],
    ] {
        let output = fedgate(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    dir
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    fs::write(dir.path().join(name), text).unwrap();
    dir.path().join(name).display().to_string()
}

const COLLECTOR: &str = "scrape_configs: []
push:
  url: https://gateway:9491
  tls_config: {ca_file: ca/ca.pem, cert_file: ca/collector-alpha.pem, key_file: ca/collector-alpha.key}
";

const GATEWAY: &str = "push:
  tls_config: {cert_file: ca/gateway.pem, key_file: ca/gateway.key, client_ca_file: ca/ca.pem, crl_file: ca/crl.pem}
  clusters: [{cluster: alpha, identities: ['spiffe://fedgate/collector/alpha']}]
";

#[test]
fn check_config_shows_every_fault_of_every_file() {
    let dir = site_with_certificates();
    let good = write(&dir, "good.yml", COLLECTOR);
    let bad = write(&dir, "bad.yml", "push:\n  clusters: []\n  listn: ':1'\nhttp: {listen: x}\n");

    let output = fedgate(&["check", "config", &good, &write(&dir, "gateway.yml", GATEWAY)]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("good.yml: valid collector configuration, 1 warning\n"), "{}", stdout(&output));
    assert!(stdout(&output).contains("gateway.yml: valid gateway configuration, no warnings"), "{}", stdout(&output));

    let output = fedgate(&["check", "config", &bad, &good]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("bad.yml:3:3: push.listn: unknown key \"listn\"; did you mean \"listen\"?"), "{text}");
    assert!(text.contains("bad.yml:4:16: http.listen: bad address \"x\""), "{text}");
    assert!(text.contains("good.yml: valid collector"), "the next file is checked all the same: {text}");
}

#[test]
fn check_config_finds_what_only_a_start_would_find() {
    let dir = site_with_certificates();
    let swapped = COLLECTOR.replace("collector-alpha.key", "gateway.key");
    let output = fedgate(&["check", "config", &write(&dir, "collector.yml", &swapped)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("collector.yml:4:3: push.tls_config: "), "{}", stdout(&output));

    fs::write(dir.path().join("token"), "two words").unwrap();
    let http = "http:\n  bearer_token_files: [token]\n  metrics: {match: ['up', '{a=', 'sum(up)']}\n";
    let broken = GATEWAY.replace("ca/crl.pem", "ca/gateway.key") + http;
    let output = fedgate(&["check", "config", &write(&dir, "gateway.yml", &broken)]);
    let text = stdout(&output);
    let keys = ["push.tls_config: ", "http.bearer_token_files: ", "http.metrics.match[1]: ", "http.metrics.match[2]: "];
    assert!(keys.iter().all(|key| text.contains(key)) && text.contains("4 errors"), "{text}");
}

#[test]
fn check_metrics_speaks_as_promtool_does() {
    let page = "# TYPE requests counter\nrequests{userName=\"x\"} 1\nrequests{userName=\"x\"} 2\n\
                # HELP free_kilobytes Free.\n# TYPE free_kilobytes gauge\nfree_kilobytes{le=\"1\"} 1\n\
                # HELP job_gauge_total A gauge.\n# TYPE job_gauge_total gauge\njob_gauge_total 1\n\
                # HELP wait_ms:sum A recorded one.\n# TYPE wait_ms:sum untyped\nwait_ms:sum 1\n\
                # HELP load Fine.\n# TYPE load histogram\nload_bucket{le=\"+Inf\"} 1\nload_count 1\nload_sum 1\n";
    let output = fedgate_with(&["check", "metrics"], page);
    let expected = r#"free_kilobytes non-histogram metrics should not have "le" label
free_kilobytes use base unit "bytes" instead of "kilobytes"
job_gauge_total metric name should not include type 'gauge'
job_gauge_total non-counter metrics should not have "_total" suffix
requests counter metrics should have "_total" suffix
requests label names should be written in 'snake_case' not 'camelCase'
requests metric not unique
requests no help text
wait_ms:sum metric names should not contain ':'
"#;
    assert_eq!(stdout(&output), expected);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn check_metrics_refuses_what_a_collector_would_refuse() {
    let output = fedgate_with(&["check", "metrics"], "# HELP a A.\na 1\nb{c=d} 1\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("error: standard input:3:5: found "), "{}", stdout(&output));
    assert_eq!(fedgate(&["check", "metrics", "/nonexistent"]).status.code(), Some(1));
}

#[test]
fn check_metrics_reads_openmetrics() {
    let page = "# HELP requests Counted.\n# TYPE requests counter\nrequests_total 1\nrequests_created 1\n# EOF\n";
    let output = fedgate_with(&["check", "metrics"], page);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
}

#[test]
fn completions_and_manual_are_made_from_the_arguments() {
    let output = fedgate(&["completions", "bash"]);
    assert!(output.status.success() && stdout(&output).contains("_fedgate"));
    let dir = TempDir::new().unwrap();
    let output = fedgate(&["man", &dir.path().display().to_string()]);
    assert!(output.status.success());
    let page = fs::read_to_string(dir.path().join("fedgate-check-config.1")).unwrap();
    assert!(page.contains("Configuration files"), "{page}");
    assert!(stdout(&fedgate(&["man"])).contains("fedgate"));
}

#[test]
fn check_rules_points_into_expressions_and_counts_rules() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let head = "groups:\n- name: g\n  rules:\n";
    let good = file("good.yml", &format!("{head}  - {{record: 'a:b', expr: up}}\n  - {{record: plain, expr: up}}\n"));
    let bad = file("bad.yml", &format!("{head}  - record: a:b\n    expr: |\n      sum(up)\n        by (x) y\n"));
    let output = fedgate(&["check", "rules", &good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    let printed = stdout(&output);
    assert!(printed.contains(&format!("{good}: SUCCESS: 2 rules found, 1 warning\n")), "{printed}");
    let fault =
        "7:16: groups[0].rules[0].expr: could not parse expression: 2:10: parse error: unexpected identifier \"y\"";
    assert!(
        printed.contains(&format!("error: {bad}:{fault}\n 7 |         by (x) y\n   |                ^\n")),
        "{printed}"
    );
    assert!(printed.ends_with(&format!("{bad}: FAILED: 1 error\n")), "{printed}");

    let experimental = file("experimental.yml", &format!("{head}  - {{record: 'a:b', expr: 'limitk(1, up)'}}\n"));
    assert_eq!(fedgate(&["check", "rules", &experimental]).status.code(), Some(1));
    let allowed = fedgate(&["check", "rules", "--experimental-functions", &experimental]);
    assert_eq!(allowed.status.code(), Some(0), "{}", stdout(&allowed));
}
