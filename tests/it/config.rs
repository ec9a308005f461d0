//! Configuration files as a user writes them: what is loaded, what is refused and how the fault is shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedgate::config::{
    ByteSize, CollectorConfig, Environment, Faults, GatewayConfig, Loaded, OnLabelConflict, Role, Scheme,
    load_collector_with, load_gateway_with, role_of,
};
use tempfile::TempDir;

/// A directory with a configuration in it and the files that it names.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { dir: TempDir::new().unwrap() };
        for name in ["ca.pem", "cert.pem", "key.pem", "crl.pem", "password"] {
            site.write(name, "");
        }
        site
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn collector(&self, text: &str) -> Result<Loaded<CollectorConfig>, Faults> {
        load_collector_with(&self.write("collector.yml", text), Environment::default())
    }

    fn gateway(&self, text: &str) -> Result<Loaded<GatewayConfig>, Faults> {
        load_gateway_with(&self.write("gateway.yml", text), Environment::default())
    }

    /// `line: key: message` of every fault of a collector's file.
    fn collector_faults(&self, text: &str) -> Vec<String> {
        brief(self.collector(text).expect_err("faults"))
    }

    fn gateway_faults(&self, text: &str) -> Vec<String> {
        brief(self.gateway(text).expect_err("faults"))
    }
}

fn brief(faults: Faults) -> Vec<String> {
    let line = |fault: &fedgate::config::Fault| fault.place.as_ref().map_or(0, |place| place.line);
    faults.0.iter().map(|fault| format!("{}: {}: {}", line(fault), fault.key, fault.message)).collect()
}

const PUSH: &str = "
push:
  url: https://gateway.example:9491
  tls_config: {ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem}
";

const GATEWAY_TLS: &str = "tls_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}";

fn with_jobs(jobs: &str) -> String {
    format!("scrape_configs:\n{jobs}\n{PUSH}")
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let site = Site::new();
    let config = site.collector(&with_jobs("- job_name: a\n- {job_name: b, scrape_interval: 5s}")).unwrap().config;
    let [a, b] = &config.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!((a.scrape_interval, a.scrape_timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!(
        (b.scrape_interval, b.scrape_timeout),
        (Duration::from_secs(5), Duration::from_secs(5)),
        "cut to the interval"
    );
    assert_eq!((a.metrics_path.as_str(), a.scheme, a.honor_timestamps), ("/metrics", Scheme::Http, true));
    assert_eq!(a.extra_scrape_metrics, Some(false));
    assert_eq!(&*config.push.url, "https://gateway.example:9491/v1/push");
    assert_eq!(config.push.tick, Duration::from_secs(15));
    assert_eq!(config.http.listen, "127.0.0.1:9492");
}

#[test]
fn values_are_read_as_the_key_wants_them() {
    let site = Site::new();
    let job = "
- job_name: 007
  honor_labels: yes
  body_size_limit: 10MB
  params: {'collect[]': [1.0, cpu]}
  static_configs: [{targets: ['n1:9100'], labels: {version: 1.10, on: off}}]
  tls_config: {ca_file: ca.pem}
";
    let config = site.collector(&with_jobs(job)).unwrap().config;
    let job = &config.scrape_configs[0];
    assert_eq!((job.job_name.as_str(), job.honor_labels, job.body_size_limit), ("007", true, ByteSize(10 << 20)));
    assert_eq!(job.params["collect[]"], ["1.0", "cpu"]);
    assert_eq!((&*job.static_configs[0].labels["version"], &*job.static_configs[0].labels["on"]), ("1.10", "off"));
    assert_eq!(job.tls_config.ca_file.as_deref(), Some(&*site.dir.path().join("ca.pem")), "relative to the file");
}

#[test]
fn a_key_without_a_value_is_left_out_if_it_is_known() {
    let site = Site::new();
    let text = with_jobs("- job_name: a\n  scrape_interval:\n  basic_auth:\n  static_configs:\nlimits:\nglobal:");
    let config = site.collector(&text).unwrap().config;
    assert_eq!(config.scrape_configs[0].scrape_interval, Duration::from_secs(30));
    assert_eq!(config.limits, Default::default());
    assert_eq!(site.collector_faults(&format!("{text}http:\n  listn:\n"))[0], "13: http.listn: unknown key \"listn\"");
    let faults = site.collector_faults("scrape_configs: [~]");
    assert!(faults.iter().any(|fault| fault.contains("found nothing, expected a mapping of keys")), "{faults:#?}");
}

#[test]
fn the_environment_lies_over_the_file() {
    let site = Site::new();
    let file = site.write("collector.yml", &with_jobs("- job_name: a"));
    let set = |pairs: &[(&'static str, &'static str)]| Environment::from_pairs(pairs.iter().copied());
    let overrides = set(&[
        ("push.tick", "30s"),
        ("http.listen", "127.0.0.1:1"),
        ("limits.targets_max", "7"),
        ("scrape_configs.x", "1"),
    ]);
    let error = load_collector_with(&file, overrides).unwrap_err();
    assert!(error.to_string().contains("FEDGATE_SCRAPE_CONFIGS__X"), "{error}");

    let overrides = set(&[("push.tick", "30s"), ("limits.targets_max", "7"), ("global.external_labels", "{rack: 12}")]);
    let config = load_collector_with(&file, overrides).unwrap().config;
    assert_eq!((config.push.tick, config.limits.targets_max), (Duration::from_secs(30), 7));
    assert_eq!(config.global.external_labels["rack"], "12");
    assert_eq!(&*config.push.url, "https://gateway.example:9491/v1/push", "its neighbours stay");

    let overrides = set(&[("push.tick", "1 s"), ("push.tik", "1s"), ("scrape_configs.x", "1")]);
    let error = load_collector_with(&file, overrides).unwrap_err().to_string();
    assert!(error.contains("FEDGATE_SCRAPE_CONFIGS__X: scrape_configs.x: found a mapping"), "{error}");
    assert!(error.contains("FEDGATE_PUSH__TICK: push.tick: bad duration"), "{error}");
    assert!(error.contains("FEDGATE_PUSH__TIK: push.tik: unknown key \"tik\"; did you mean \"tick\"?"), "{error}");
}

#[test]
fn every_fault_comes_at_once_in_the_order_of_the_file() {
    let site = Site::new();
    let faults = site.collector_faults(
        "global:
  scrape_intervall: 30s
scrape_configs:
- job_name: a
  scrape_interval: 5
  sample_limit: lots
  static_configs:
  - nonsense
  - targets: ['http://x/metrics']
  relabel_configs:
  - {action: replce}
  - {regex: '(', target_label: x}
- job_name: a
  scheme: gopher
  scrape_timeout: 1h
  scrape_timeout: 31s
push:
  url: http://gateway:9491
  tls_config: {ca_file: missing.pem, cert_file: cert.pem}
http:
  listen: nowhere
remote_write: []
",
    );
    let places: Vec<&str> = faults.iter().map(|fault| fault.rsplit_once(": ").map_or(&**fault, |_| fault)).collect();
    let expected = [
        "2: global.scrape_intervall: unknown key",
        "5: scrape_configs[0].scrape_interval: bad duration \"5\"",
        "6: scrape_configs[0].sample_limit: found \"lots\", expected a whole number",
        "8: scrape_configs[0].static_configs[0]: found \"nonsense\", expected a mapping",
        "9: scrape_configs[0].static_configs[1].targets[0]: \"http://x/metrics\" is no address",
        "11: scrape_configs[0].relabel_configs[0].action: found \"replce\"",
        "12: scrape_configs[0].relabel_configs[1].regex: bad regular expression \"(\": unclosed group",
        "13: scrape_configs[1].job_name: a job \"a\" stands above already",
        "14: scrape_configs[1].scheme: found \"gopher\", expected one of http, https",
        "16: scrape_configs[1].scrape_timeout: this key stands twice",
        "16: scrape_configs[1].scrape_timeout: found 31s, expected at most the interval 30s",
        "18: push.url: found a URL with scheme \"http\", expected https",
        "19: push.tls_config.key_file: a file is required",
        "19: push.tls_config.ca_file: cannot read",
        "21: http.listen: bad address \"nowhere\"",
        "22: remote_write: unknown key",
    ];
    assert_eq!(places.len(), expected.len(), "{faults:#?}");
    for (found, expected) in places.iter().zip(expected) {
        assert!(found.starts_with(expected), "found {found}\nexpected {expected}");
    }
}

#[test]
fn a_fault_is_drawn_with_its_line_and_a_caret() {
    let site = Site::new();
    let error = site.collector(&format!("global:\n\n  scrape_intervall: 30s\n{PUSH}")).unwrap_err().to_string();
    let file = site.dir.path().join("collector.yml");
    let expected = format!(
        "{}:3:3: global.scrape_intervall: unknown key \"scrape_intervall\"; did you mean \"scrape_interval\"?\n \
         3 |   scrape_intervall: 30s\n   |   ^^^^^^^^^^^^^^^^",
        file.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn secrets_are_never_shown() {
    let site = Site::new();
    let jobs = "
- job_name: a
  basic_auth: {username: u, password: canary}
  http_headers: {X-Key: {secrets: [canary]}}
  proxy_url: http://u:canary@proxy:1
";
    let loaded = site.collector(&with_jobs(jobs)).unwrap();
    assert_eq!(
        loaded.config.scrape_configs[0].basic_auth.as_ref().unwrap().password.as_ref().unwrap().expose(),
        "canary"
    );
    assert!(!format!("{loaded:?}").contains("canary"), "{loaded:?}");

    let jobs = "
- job_name: a
  basic_auth: {username: u, pasword: canary}
- job_name: b
  basic_auth: canary
- job_name: c
  authorization: {credentials: {a: canary}, type: Basic}
- {job_name: d, scrape_interval: 5, authorization: {credentials: canary}}
- job_name: e
  proxy_url: ftp://u:canary@proxy:1
- {basic_auth: {password: canary}, job_name: g, authorization: {canry: x}}
- job_name: h
  basic_auth:
    username: {a: b}
    password:
      - canary:canary
- job_name: f
  authorization:
    credentials: |
      canary
    credentials_file: missing
  http_headers: {Host: {values: [canary]}, 'X Y': {secrets: canary}}
";
    let error = site.collector(&with_jobs(jobs)).unwrap_err();
    assert_eq!(error.0.len(), 13, "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    let syntax = site.collector("a:\n  password: {canary\nb: 1\n").unwrap_err();
    assert!(!syntax.to_string().contains("canary"), "{syntax}");
}

#[test]
fn relabelling_steps_follow_prometheus_rules() {
    let site = Site::new();
    let steps = "
- job_name: a
  relabel_configs:
  - {action: labeldrop, regex: a, source_labels: [b]}
  - {action: keepequal, source_labels: [a], target_label: b, regex: c}
  - {action: hashmod, source_labels: [a], target_label: b}
  - {action: lowercase, source_labels: [a]}
  - {action: LabelMap, regex: a_(.+)}
  - {action: drop, source_labels: [a], regex: b}
  - {target_label: 'a.b', replacement: c}
";
    let faults = site.collector_faults(&with_jobs(steps));
    let expected = ["takes no source_labels", "takes no regex", "modulus of at least 1", "needs a target_label"];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert!(faults.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{faults:#?}");
}

#[test]
fn http_keys_exclude_each_other_as_in_prometheus() {
    let site = Site::new();
    let jobs = "
- job_name: a
  basic_auth: {username: u, password: p, password_file: password}
  authorization: {credentials: c, credentials_file: password}
  tls_config: {cert_file: cert.pem}
  no_proxy: localhost
  http_headers: {Authorization: {values: [x]}}
  http_sd_configs: [{url: 'file:///x', refresh_interval: 10ms}]
  file_sd_configs: [{files: [a.txt, 'x*/b.json']}, {}]
";
    let faults = site.collector_faults(&with_jobs(jobs));
    let expected = [
        "authorization: at most one of basic_auth and authorization",
        "password_file: at most one",
        "credentials_file: at most one",
        "key_file: cert_file needs its key_file",
        "no_proxy: no_proxy needs a proxy_url",
        "set by fedgate itself",
        "url: found a URL with scheme \"file\"",
        "refresh_interval: found 10ms",
        "ends in neither",
        "at most one *",
        "expected at least one file",
    ];
    for expected in expected {
        assert!(faults.iter().any(|found| found.contains(expected)), "{expected} is not in {faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn the_inventory_is_read_whole() {
    let site = Site::new();
    let text = format!(
        "
push:
  {GATEWAY_TLS}
  clusters:
  - cluster: alpha
    environment: production
    identities: ['spiffe://hpc.example/collector/alpha', collector.alpha.hpc.example]
    external_labels: {{site: north}}
    on_label_conflict: reject
    limits: {{series: 5000, labels_per_series: 32}}
    expect_every: 30s
    maintenance: {{until: 2026-12-01T06:00:00Z, reason: cooling}}
"
    );
    let config = site.gateway(&text).unwrap().config;
    let alpha = &config.push.clusters[0];
    assert_eq!(alpha.on_label_conflict, OnLabelConflict::Reject);
    assert_eq!((alpha.limits.series, alpha.limits.samples_per_second), (5000, 200_000));
    assert_eq!(alpha.maintenance.as_ref().unwrap().until.as_second(), 1_796_104_800);
    let stamped = alpha.stamped_labels();
    assert_eq!(stamped.into_iter().collect::<Vec<_>>().len(), 3);
    assert_eq!((config.push.listen.as_str(), config.http.listen.as_str()), (":9491", "127.0.0.1:9490"));
}

#[test]
fn the_inventory_refuses_what_could_pass_for_another_cluster() {
    let site = Site::new();
    let clusters = "
  - {cluster: alpha, identities: [a.example], external_labels: {cluster: beta, 'a-b': c, __x: y}}
  - {cluster: alpha, identities: [A.EXAMPLE]}
  - {cluster: gamma, identities: []}
  - {cluster: '', identities: ['*.example'], on_label_conflict: kep, expect_every: 0s}
  - {cluster: delta, identities: [d.example], maintenance: {reason: x}, limits: {series: 0}}
";
    let faults = site.gateway_faults(&format!("push:\n  {GATEWAY_TLS}\n  clusters:{clusters}"));
    let expected = [
        "external_labels.a-b: \"a-b\" is no label name",
        "external_labels.cluster: cluster is a key of the cluster itself",
        "external_labels.__x: label names that begin with __",
        "clusters[1].cluster: a cluster \"alpha\" stands above",
        "clusters[1].identities[0]: \"A.EXAMPLE\" speaks for cluster \"alpha\" already",
        "clusters[2].identities: expected at least one",
        "clusters[3].cluster: a cluster needs a name",
        "clusters[3].identities[0]: found \"*.example\"",
        "clusters[3].on_label_conflict: found \"kep\"",
        "clusters[3].expect_every: found 0s, expected 1s to 1h",
        "clusters[4].maintenance: key \"until\" is missing",
        "clusters[4].limits.series: found 0",
    ];
    for expected in expected {
        assert!(faults.iter().any(|found| found.contains(expected)), "{expected} is not in {faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_public_listener_without_authentication_is_warned_of() {
    let site = Site::new();
    let warnings = |http: &str| {
        let clusters = "clusters: [{cluster: a, identities: [a]}]";
        let loaded = site.gateway(&format!("push:\n  {GATEWAY_TLS}\n  {clusters}\nhttp:\n{http}")).unwrap();
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(warnings("  listen: 127.0.0.1:1").is_empty());
    assert!(warnings("  listen: :1")[0].contains("anyone who reaches this address"));
    assert!(warnings("  listen: :1\n  bearer_token_files: [password]")[0].contains("in the clear"));
    let tls = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}";
    assert!(warnings(&format!("  listen: :1\n  bearer_token_files: [password]\n  {tls}")).is_empty());
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let key = site.dir.path().join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = site.collector(&with_jobs("- {job_name: a, static_configs: [{targets: ['a:1']}]}")).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warnings, ["push.tls_config.key_file"]);
}

#[test]
fn what_is_no_configuration_says_so() {
    let site = Site::new();
    assert!(site.collector_faults("- a\n- b\n")[0].contains("expected a mapping of sections"));
    assert!(site.collector_faults("a: [1, 2\nb: 3\n")[0].contains("this is no YAML"));
    let missing = load_collector_with(Path::new("/nonexistent/x.yml"), Environment::default()).unwrap_err();
    assert!(missing.to_string().starts_with("/nonexistent/x.yml: cannot read the file"), "{missing}");
    let empty = site.collector_faults("");
    assert!(empty.iter().any(|fault| fault.contains("push.url")), "{empty:#?}");
}

#[test]
fn the_role_is_told_by_the_sections() {
    let site = Site::new();
    assert_eq!(role_of(&site.write("c.yml", &with_jobs("- job_name: a"))).unwrap(), Role::Collector);
    assert_eq!(role_of(&site.write("g.yml", "push: {clusters: []}")).unwrap(), Role::Gateway);
    assert!(role_of(&site.write("x.yml", "http: {listen: ':1'}")).is_err());
}

/// An example of `config/`, in a directory where the certificates that it names are.
fn example(site: &Site, name: &str) -> PathBuf {
    for file in ["ca.pem", "crl.pem", "gateway.pem", "gateway.key", "collector-alpha.pem", "collector-alpha.key"] {
        site.write(&format!("certs/{file}"), "");
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap();
    site.write(name, &text)
}

#[test]
fn the_collector_example_is_a_sound_configuration() {
    let site = Site::new();
    let loaded = load_collector_with(&example(&site, "collector.yml"), Environment::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    let jobs = &loaded.config.scrape_configs;
    let names: Vec<_> = jobs.iter().map(|job| job.job_name.as_str()).collect();
    assert_eq!(names, ["node", "slurm-jobs", "slurm-nodes", "slurm-partitions", "slurm-scheduler"]);
    for job in &jobs[1..] {
        assert_eq!((job.scrape_interval.as_secs(), job.scrape_timeout.as_secs()), (60, 20), "{}", job.job_name);
        assert!(!job.follow_redirects && job.static_configs[0].targets == ["slurmctld:6817"], "{}", job.job_name);
    }
}

#[test]
fn the_gateway_example_is_a_sound_configuration() {
    let site = Site::new();
    let loaded = load_gateway_with(&example(&site, "gateway.yml"), Environment::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.push.clusters.len(), 2);
}

/// What is commented out as a default is the default: the keys are put in, and nothing changes.
#[test]
fn the_defaults_that_the_examples_show_are_the_defaults() {
    let site = Site::new();
    let gateway = example(&site, "gateway.yml");
    let shown = uncommented(&gateway, &["global", "limits", "metrics", "federate"]);
    let with_defaults = load_gateway_with(&site.write("shown.yml", &shown), Environment::default()).unwrap();
    let without = load_gateway_with(&gateway, Environment::default()).unwrap();
    assert!(
        shown.contains("\n  frames_per_body_max: 4096") || shown.contains("\n    frames_per_body_max: 4096"),
        "{shown}"
    );
    assert_eq!(with_defaults.config, without.config);

    let collector = example(&site, "collector.yml");
    let shown = uncommented(&collector, &["global", "limits"]);
    let with_defaults = load_collector_with(&site.write("shown.yml", &shown), Environment::default()).unwrap();
    let without = load_collector_with(&collector, Environment::default()).unwrap();
    assert!(shown.contains("\n  targets_max: 10000"), "{shown}");
    assert_eq!(with_defaults.config, without.config);
}

/// Takes the `# ` off lines that show the default of a plain key, and off the sections that hold only such lines.
fn uncommented(file: &Path, sections: &[&str]) -> String {
    let examples =
        ["server_name", "proxy_url", "maintenance", "until", "reason", "basic_auth_users", "bearer_token_files", "dir"];
    let text = fs::read_to_string(file).unwrap();
    let mut in_example = false;
    let line = |line: &str| {
        let Some((indent, rest)) = line.split_once("# ").filter(|(indent, _)| indent.trim().is_empty()) else {
            in_example = false;
            return line.to_owned();
        };
        let key = rest.trim_start().split(':').next().unwrap();
        let is_key = rest.contains(':') && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let is_section = rest.split('#').next().unwrap().trim_end().ends_with(':');
        // Commented jobs, discoveries and the like are examples: what stands under them shows no defaults.
        let begins_example = rest.starts_with("- ") || (is_section && !sections.contains(&key));
        in_example = begins_example || (in_example && rest.starts_with(' '));
        match is_key && !in_example && !examples.contains(&key) {
            true => format!("{indent}{rest}"),
            false => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    /// One careless edit of a text.
    #[derive(Clone, Debug)]
    enum Edit {
        DropLine(usize),
        RepeatLine(usize),
        Indent(usize, usize),
        Insert(usize, String),
        Cut(usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let stray = prop_oneof!["[\\[\\]{}:,*&!|>'\"%@`#-]", "\\PC{0,3}", "[a-z_]{1,8}: ", "\t", "\u{0}"];
        prop_oneof![
            any::<usize>().prop_map(Edit::DropLine),
            any::<usize>().prop_map(Edit::RepeatLine),
            (any::<usize>(), 0..6usize).prop_map(|(line, width)| Edit::Indent(line, width)),
            (any::<usize>(), stray).prop_map(|(at, text)| Edit::Insert(at, text)),
            any::<usize>().prop_map(Edit::Cut),
        ]
    }

    fn apply(text: &str, edit: &Edit) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let nth = |at: usize| at % lines.len().max(1);
        let at_char =
            |at: usize| text.char_indices().map(|(at, _)| at).nth(at % text.chars().count().max(1)).unwrap_or(0);
        match edit {
            _ if lines.is_empty() => {}
            Edit::DropLine(at) => drop(lines.remove(nth(*at))),
            Edit::RepeatLine(at) => lines.insert(nth(*at), lines[nth(*at)].clone()),
            Edit::Indent(at, width) => {
                let at = nth(*at);
                lines[at] = format!("{}{}", " ".repeat(*width), lines[at].trim_start());
            }
            Edit::Insert(at, stray) => {
                let (before, after) = text.split_at(at_char(*at));
                return format!("{before}{stray}{after}");
            }
            Edit::Cut(at) => return text[..at_char(*at)].to_owned(),
        }
        lines.join("\n")
    }

    fn is_placed_within(faults: &Faults, text: &str) -> bool {
        let lines = text.lines().count();
        let placed = faults.0.iter().filter_map(|fault| fault.place.as_ref());
        !faults.0.is_empty() && placed.into_iter().all(|place| place.line <= lines + 1 && place.width >= 1)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// Whatever an editor leaves behind is loaded or refused with faults that stand in the file; nothing panics.
        #[test]
        fn edited_examples_are_loaded_or_refused(edits in prop::collection::vec(edit(), 1..6), is_gateway: bool) {
            let site = Site::new();
            let name = if is_gateway { "gateway.yml" } else { "collector.yml" };
            let original = fs::read_to_string(example(&site, name)).unwrap();
            let text = edits.iter().fold(original, |text, edit| apply(&text, edit));
            let file = site.write(name, &text);
            let refused = match is_gateway {
                true => load_gateway_with(&file, Environment::default()).err(),
                false => load_collector_with(&file, Environment::default()).err(),
            };
            if let Some(faults) = refused {
                prop_assert!(is_placed_within(&faults, &text), "{faults}\n{text}");
                prop_assert!(!faults.to_string().is_empty());
            }
        }
    }
}

#[test]
fn what_is_wrong_with_endpoints_comes_at_once() {
    let site = Site::new();
    let text = "push: {clusters: [{cluster: alpha, identities: [a.example]}]}\nremote_write:\n  - name: Twice\n  - url: http://a/write\n    headers:\n      Content-Type: text\n      X-Open: '{{cluster'\n      X-Name: '{{clus ter}}'\n    sigv4: {region: eu}\n    oauth2: {client_id: a}\n    queue_config: {min_shards: 60, min_backoff: 10s}\n  - url: http://a/write\n    protobuf_message: v3\n";
    let faults = site.gateway_faults(text);
    for expected in [
        "journal.dir: required: what remote_write sends is read from the journal",
        "3: remote_write[0].name: found \"Twice\"",
        "3: remote_write[0].url: required",
        "6: remote_write[1].headers.Content-Type: the header content-type is set by fedgate itself",
        "7: remote_write[1].headers.X-Open: expected }} behind {{",
        "8: remote_write[1].headers.X-Name: found \"clus ter\"",
        "9: remote_write[1].sigv4: sigv4 is not supported",
        "10: remote_write[1].oauth2: oauth2 is not supported",
        "11: remote_write[1].queue_config.min_shards: expected at most max_shards, 50",
        "11: remote_write[1].queue_config.min_backoff: expected at most max_backoff",
        "12: remote_write[2].url: this URL stands above already",
        "13: remote_write[2].protobuf_message:",
    ] {
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected} among {faults:#?}");
    }
}
