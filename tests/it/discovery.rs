//! From configuration, files and endpoints to targets, as Prometheus 3.5's `PopulateLabels` has it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedgate::config::{FileSdConfig, RelabelAction, RelabelConfig, Scheme, ScrapeConfig, StaticConfig};
use fedgate::discovery::{
    Counters, Discovered, Found, PreparedSources, Sources, Target, TargetFaultReason, TargetGroup, targets,
};
use fedgate::model::Labels;
use fedgate::relabel;
use fedgate::runtime::{Shutdown, Stage};
use tokio::sync::mpsc;

fn job() -> ScrapeConfig {
    ScrapeConfig {
        job_name: "node".to_owned(),
        scrape_interval: Duration::from_secs(30),
        scrape_timeout: Duration::from_secs(10),
        ..ScrapeConfig::default()
    }
}

fn group(addresses: &[&str], labels: &[(&str, &str)]) -> TargetGroup {
    TargetGroup {
        source: "test:0".to_owned(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        labels: Labels::from_pairs(labels.iter().copied()),
    }
}

fn found(job: &ScrapeConfig, groups: &[TargetGroup]) -> Found {
    targets(job, &relabel::compile(&job.relabel_configs).unwrap(), groups)
}

fn only(job: &ScrapeConfig, group: TargetGroup) -> Target {
    let mut found = found(job, &[group]);
    assert_eq!((found.faults.as_slice(), found.targets.len()), (&[][..], 1));
    found.targets.remove(0)
}

fn replace(sources: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelConfig {
    RelabelConfig {
        source_labels: sources.iter().map(|source| (*source).to_owned()).collect(),
        regex: regex.to_owned(),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        ..RelabelConfig::default()
    }
}

#[test]
fn a_target_gets_job_and_instance_and_loses_reserved_labels() {
    let target = only(&job(), group(&["n1:9100"], &[("rack", "7"), ("__meta_x", "1"), ("__own", "2")]));
    assert_eq!(*target.labels, Labels::from_pairs([("instance", "n1:9100"), ("job", "node"), ("rack", "7")]));
    assert_eq!(&*target.url, "http://n1:9100/metrics");
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(30), Duration::from_secs(10)));
}

#[test]
fn no_default_port_is_added() {
    let config = ScrapeConfig { scheme: Scheme::Https, ..job() };
    let target = only(&config, group(&["n1"], &[]));
    assert_eq!((&*target.url, target.labels.get("instance")), ("https://n1/metrics", Some("n1")));
}

#[test]
fn a_groups_labels_win_over_the_jobs() {
    let labels = [
        ("job", "other"),
        ("instance", "me"),
        ("__scheme__", "https"),
        ("__metrics_path__", "own"),
        ("__scrape_interval__", "1m"),
        ("__scrape_timeout__", "50s"),
        ("__param_x", "group"),
        ("__address__", "not-used:1"),
    ];
    let config =
        ScrapeConfig { params: [("x".to_owned(), vec!["job".to_owned(), "second".to_owned()])].into(), ..job() };
    let target = only(&config, group(&["n1:1"], &labels));
    assert_eq!(*target.labels, Labels::from_pairs([("instance", "me"), ("job", "other")]));
    assert_eq!(&*target.url, "https://n1:1/own?x=group&x=second");
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(60), Duration::from_secs(50)));
}

#[test]
fn urls_are_written_as_go_writes_them() {
    let params = [("collect[]", vec!["cpu", "a b&c"]), ("empty", vec![""]), ("none", vec![])];
    let params =
        params.into_iter().map(|(name, values)| (name.to_owned(), values.into_iter().map(str::to_owned).collect()));
    let config = ScrapeConfig { metrics_path: "/a b/ä?x=1;y@z:$,%".to_owned(), params: params.collect(), ..job() };
    let target = only(&config, group(&["[::1]:9100"], &[]));
    assert_eq!(
        &*target.url,
        "http://[::1]:9100/a%20b/%C3%A4%3Fx=1;y@z:$,%25?collect%5B%5D=cpu&collect%5B%5D=a+b%26c&empty="
    );
}

#[test]
fn relabelling_rewrites_what_is_scraped() {
    // The black-box pattern: the address becomes a parameter and the instance, a proxy is asked.
    let config = ScrapeConfig {
        metrics_path: "/probe".to_owned(),
        relabel_configs: vec![
            replace(&["__address__"], "(.*)", "__param_target", "$1"),
            replace(&["__param_target"], "(.*)", "instance", "$1"),
            replace(&[], "(.*)", "__address__", "prober:9115"),
            replace(&["__meta_rack"], "(.*)", "rack", "$1"),
            replace(&[], "(.*)", "__scrape_interval__", "2m"),
        ],
        ..job()
    };
    let target = only(&config, group(&["http://site/"], &[("__meta_rack", "7")]));
    assert_eq!(&*target.url, "http://prober:9115/probe?target=http%3A%2F%2Fsite%2F");
    assert_eq!(*target.labels, Labels::from_pairs([("instance", "http://site/"), ("job", "node"), ("rack", "7")]));
    assert_eq!(target.interval, Duration::from_secs(120));
}

#[test]
fn relabelling_sees_meta_and_job_labels_and_drops() {
    let keep = RelabelConfig {
        source_labels: vec!["__meta_role".to_owned(), "job".to_owned(), "__scheme__".to_owned()],
        regex: "compute;node;http".to_owned(),
        action: RelabelAction::Keep,
        ..RelabelConfig::default()
    };
    let config = ScrapeConfig { relabel_configs: vec![keep], ..job() };
    let groups =
        [group(&["n1:1", "n2:1"], &[("__meta_role", "compute")]), group(&["n3:1"], &[("__meta_role", "login")])];
    let found = found(&config, &groups);
    assert_eq!((found.targets.len(), found.dropped, found.faults.len()), (2, 1, 0));
}

#[test]
fn each_fault_says_what_is_wrong() {
    let fault = |address: &str, labels: &[(&str, &str)], steps: Vec<RelabelConfig>| {
        let config = ScrapeConfig { relabel_configs: steps, ..job() };
        let mut found = found(&config, &[group(&[address], labels)]);
        assert_eq!((found.targets.len(), found.faults.len()), (0, 1), "{address} {labels:?}");
        let fault = found.faults.remove(0);
        assert_eq!((fault.address.as_str(), fault.source_name.as_str()), (address, "test:0"));
        fault.reason
    };
    assert_eq!(fault("", &[], vec![]), TargetFaultReason::NoAddress);
    assert_eq!(fault("a:1", &[], vec![replace(&[], "(.*)", "__address__", "")]), TargetFaultReason::NoAddress);
    assert_eq!(fault("http://a:1", &[], vec![]), TargetFaultReason::Address("http://a:1".to_owned()));
    for bad in ["x", "0", "10", "-5s"] {
        assert!(
            matches!(fault("a:1", &[("__scrape_interval__", bad)], vec![]), TargetFaultReason::Interval(_)),
            "{bad}"
        );
        assert!(matches!(fault("a:1", &[("__scrape_timeout__", bad)], vec![]), TargetFaultReason::Timeout(_)), "{bad}");
    }
    assert_eq!(
        fault("a:1", &[("__scrape_timeout__", "31s")], vec![]),
        TargetFaultReason::TimeoutOverInterval { timeout: "31s".to_owned(), interval: "30s".to_owned() }
    );
}

#[test]
fn a_target_found_twice_is_one_and_another_behind_its_labels_is_a_fault() {
    let groups =
        [group(&["n1:1", "n1:1"], &[]), group(&["n1:1"], &[]), group(&["n1:1"], &[("__metrics_path__", "/other")])];
    let found = found(&job(), &groups);
    assert_eq!(found.targets.len(), 1);
    let [fault] = &found.faults[..] else { panic!("{:?}", found.faults) };
    assert_eq!(fault.reason, TargetFaultReason::SameLabels { other: "http://n1:1/metrics".into() });
}

#[test]
fn target_limit_counts_targets_and_not_addresses() {
    let config = ScrapeConfig { target_limit: 2, ..job() };
    assert_eq!(found(&config, &[group(&["a:1", "b:1", "a:1"], &[])]).over_limit, None);
    let over = found(&config, &[group(&["a:1", "b:1", "c:1"], &[])]);
    assert_eq!((over.over_limit, over.targets.len()), (Some(3), 3));
}

/// Runs the file sources of a job and yields what they find.
struct Files {
    sources: Sources,
    found: mpsc::Receiver<Discovered>,
    counters: Arc<Counters>,
    job: ScrapeConfig,
    _shutdown: Shutdown,
}

impl Files {
    fn start(patterns: &[&Path]) -> Files {
        let files = patterns.iter().map(|pattern| pattern.to_path_buf()).collect();
        let config = FileSdConfig { files, refresh_interval: Duration::from_millis(20) };
        let job = ScrapeConfig {
            file_sd_configs: vec![config],
            static_configs: vec![StaticConfig { targets: vec!["static:1".to_owned()], ..StaticConfig::default() }],
            ..job()
        };
        let (shutdown, counters) = (Shutdown::new(), Arc::new(Counters::default()));
        let (sender, found) = mpsc::channel(16);
        let mut sources = Sources::new(shutdown.tasks(Stage::Intake), sender, counters.clone());
        sources.apply(PreparedSources::new([&job].into_iter()).unwrap());
        Files { sources, found, counters, job, _shutdown: shutdown }
    }

    /// The addresses after the next change.
    async fn next(&mut self) -> Vec<String> {
        let found = tokio::time::timeout(Duration::from_secs(5), self.found.recv()).await;
        assert_eq!(self.sources.take(found.expect("a change within 5 s").unwrap()).as_deref(), Some("node"));
        self.addresses()
    }

    fn addresses(&self) -> Vec<String> {
        self.sources.groups(&self.job).iter().flat_map(|group| group.addresses.clone()).collect()
    }

    async fn faults(&self, at_least: u64) {
        for _ in 0..500 {
            if self.counters.faults()[0].1 >= at_least {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}, expected {at_least} faults of files", self.counters.faults());
    }
}

#[tokio::test]
async fn files_are_found_by_pattern_and_read_again_when_they_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("a.json"), r#"[{"targets": ["a:1"]}]"#).unwrap();
    std::fs::write(file("b.yml"), "- targets: ['b:1', 'b:2']\n  labels: {rack: '7'}\n").unwrap();
    std::fs::write(file("c.txt"), "no").unwrap();
    let mut files = Files::start(&[&file("*.json"), &file("b.yml"), &file("missing.yml")]);
    assert_eq!(files.next().await, ["static:1", "a:1", "b:1", "b:2"]);
    let groups = files.sources.groups(&files.job);
    let path = file("b.yml").to_string_lossy().into_owned();
    assert_eq!(groups[2].labels, Labels::from_pairs([("__meta_filepath", path.as_str()), ("rack", "7")]));
    assert_eq!(groups[2].source, format!("{path}:0"));
    std::fs::write(file("d.new"), r#"[{"targets": ["d:1"]}]"#).unwrap();
    std::fs::rename(file("d.new"), file("d.json")).unwrap();
    assert_eq!(files.next().await, ["static:1", "a:1", "b:1", "b:2", "d:1"]);
    std::fs::remove_file(file("a.json")).unwrap();
    assert_eq!(files.next().await, ["static:1", "b:1", "b:2", "d:1"]);
    assert_eq!(files.counters.faults()[0], ("file", 0));
}

#[tokio::test]
async fn a_bad_file_keeps_its_targets_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.json");
    std::fs::write(&file, r#"[{"targets": ["a:1"]}]"#).unwrap();
    let mut files = Files::start(&[&file]);
    assert_eq!(files.next().await, ["static:1", "a:1"]);
    std::fs::write(&file, r#"[{"targets": ["a:"#).unwrap();
    files.faults(2).await;
    assert_eq!(files.addresses(), ["static:1", "a:1"]);
    assert!(files.found.try_recv().is_err(), "no change was told");
    std::fs::write(&file, r#"[{"targets": ["a:2"]}]"#).unwrap();
    assert_eq!(files.next().await, ["static:1", "a:2"]);
}

#[tokio::test]
async fn a_reload_keeps_unchanged_sources_and_ends_others() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.json");
    std::fs::write(&file, r#"[{"targets": ["a:1"]}]"#).unwrap();
    let mut files = Files::start(&[&file]);
    files.next().await;
    files.job.scrape_interval = Duration::from_secs(60);
    files.sources.apply(PreparedSources::new([&files.job].into_iter()).unwrap());
    assert_eq!(files.addresses(), ["static:1", "a:1"], "known without another reading");
    files.job.file_sd_configs.clear();
    files.sources.apply(PreparedSources::new([&files.job].into_iter()).unwrap());
    assert_eq!(files.addresses(), ["static:1"]);
}
