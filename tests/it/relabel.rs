//! Relabelling as Prometheus documents it: each case is steps in YAML, a label set before and what is left of it.

use fedgate::config::{Environment, load_collector_with};
use fedgate::model::{Labels, LabelsBuilder};
use fedgate::relabel::{Steps, compile, process};

/// Compiles steps as a user writes them.
fn steps(yaml: &str) -> Steps {
    let dir = tempfile::TempDir::new().unwrap();
    let pem = dir.path().join("x.pem");
    std::fs::write(&pem, "").unwrap();
    let pem = pem.display();
    let steps: String = yaml.lines().map(|line| format!("  {}\n", line.trim_start())).collect();
    let file = dir.path().join("collector.yml");
    let push = format!("{{url: 'https://g', tls_config: {{ca_file: {pem}, cert_file: {pem}, key_file: {pem}}}}}");
    std::fs::write(&file, format!("push: {push}\nscrape_configs:\n- job_name: a\n  relabel_configs:\n{steps}"))
        .unwrap();
    let loaded = load_collector_with(&file, Environment::default()).unwrap_or_else(|faults| panic!("{faults}"));
    compile(&loaded.config.scrape_configs[0].relabel_configs).unwrap()
}

/// What is left of `before` (`a=1 b=2`), or `dropped`.
fn relabelled(yaml: &str, before: &str) -> String {
    let pairs = before.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs(pairs));
    match process(&steps(yaml), &mut labels) {
        true => labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        false => "dropped".to_owned(),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (yaml, before, after) in cases {
        assert_eq!(relabelled(yaml, before), *after, "{yaml} on {before}");
    }
}

#[test]
fn replace_joins_its_sources_and_expands_groups() {
    check(&[
        ("- {source_labels: [a], target_label: b}", "a=1", "a=1 b=1"),
        ("- {source_labels: [a, b], target_label: c}", "a=1 b=2", "a=1 b=2 c=1;2"),
        ("- {source_labels: [a, x, b], separator: '-', target_label: c}", "a=1 b=2", "a=1 b=2 c=1--2"),
        (
            "- {source_labels: [a], regex: 'f(.*)r', replacement: 'b${1}b-$$', target_label: d}",
            "a=foobar",
            "a=foobar d=boobab-$",
        ),
        ("- {source_labels: [a], regex: 'f(.*)r', replacement: '$1x', target_label: d}", "a=foobar d=gone", "a=foobar"),
        ("- {source_labels: [a], regex: 'oo', replacement: x, target_label: d}", "a=foo", "a=foo"),
        (
            "- {source_labels: [a], regex: '(?P<first>.).*', replacement: '$first', target_label: d}",
            "a=xyz",
            "a=xyz d=x",
        ),
    ]);
}

#[test]
fn replace_without_sources_sets_and_removes() {
    check(&[
        ("- {target_label: site, replacement: north}", "a=1", "a=1 site=north"),
        ("- {target_label: a, replacement: ''}", "a=1 b=2", "b=2"),
        ("- {source_labels: [none], target_label: a}", "a=1 b=2", "b=2"),
        ("- {source_labels: [none], regex: '.+', target_label: a}", "a=1", "a=1"),
    ]);
}

#[test]
fn replace_can_compute_the_name_it_sets() {
    check(&[
        (
            "- {source_labels: [a], regex: '(\\w+)-(\\w+)', target_label: '__${1}', replacement: '$2'}",
            "a=k-v",
            "__k=v a=k-v",
        ),
        ("- {source_labels: [a], regex: '(x)?y', target_label: '${1}', replacement: z}", "a=y", "a=y"),
        ("- {source_labels: [a], target_label: 'with.dot'}", "a=1", "a=1 with.dot=1"),
    ]);
}

#[test]
fn keep_and_drop_match_the_whole_value() {
    check(&[
        ("- {source_labels: [a], regex: 'f.*', action: keep}", "a=foo", "a=foo"),
        ("- {source_labels: [a], regex: 'f', action: keep}", "a=foo", "dropped"),
        ("- {source_labels: [a], regex: 'f|foo', action: drop}", "a=foo", "dropped"),
        ("- {source_labels: [a], regex: 'f', action: drop}", "a=foo", "a=foo"),
        ("- {source_labels: [none], regex: '', action: drop}", "a=foo", "dropped"),
        ("- {source_labels: [none], regex: '.+', action: keep}", "a=foo", "dropped"),
    ]);
}

#[test]
fn equality_is_with_the_target_label() {
    check(&[
        ("- {source_labels: [a], target_label: b, action: keepequal}", "a=1 b=1", "a=1 b=1"),
        ("- {source_labels: [a], target_label: b, action: keepequal}", "a=1 b=2", "dropped"),
        ("- {source_labels: [a], target_label: b, action: dropequal}", "a=1 b=1", "dropped"),
        ("- {source_labels: [a, c], target_label: b, action: keepequal}", "a=1 b=1;2 c=2", "a=1 b=1;2 c=2"),
        ("- {source_labels: [x], target_label: y, action: dropequal}", "a=1", "dropped"),
    ]);
}

#[test]
fn hashmod_takes_the_same_share_as_prometheus() {
    // By coreutils' md5sum: "foo" gives acbd18db4cc2f85cedef654fccc4a4d8, nothing gives d41d8cd98f00b204e9800998ecf8427e.
    let foo = 0xedef_654f_ccc4_a4d8_u64;
    let nothing = 0xe980_0998_ecf8_427e_u64;
    let step = "- {source_labels: [a], target_label: h, modulus: 1000, action: hashmod}";
    check(&[(step, "a=foo", &format!("a=foo h={}", foo % 1000)), (step, "b=1", &format!("b=1 h={}", nothing % 1000))]);
}

#[test]
fn labelmap_copies_and_never_maps_a_copy() {
    check(&[
        (
            "- {regex: '__meta_(.+)', action: labelmap}",
            "__meta_a=1 __meta_b=2 c=3",
            "__meta_a=1 __meta_b=2 a=1 b=2 c=3",
        ),
        ("- {regex: '(b.*)', replacement: 'b${1}', action: labelmap}", "b=1", "b=1 bb=1"),
        ("- {regex: 'a.*', replacement: same, action: labelmap}", "a1=1 a2=2", "a1=1 a2=2 same=2"),
    ]);
}

#[test]
fn labels_are_dropped_and_kept_by_name() {
    check(&[
        ("- {regex: '__.*', action: labeldrop}", "__a=1 b=2 c__d=3", "b=2 c__d=3"),
        ("- {regex: 'a|b', action: labelkeep}", "a=1 ab=2 b=3", "a=1 b=3"),
    ]);
}

#[test]
fn letters_change_case_one_by_one() {
    check(&[
        ("- {source_labels: [a], target_label: a, action: lowercase}", "a=NODE-ÄΣ", "a=node-äσ"),
        ("- {source_labels: [a], target_label: b, action: uppercase}", "a=node-äß", "a=node-äß b=NODE-Äß"),
        ("- {source_labels: [a], target_label: a, action: LowerCase}", "a=İx", "a=ix"),
    ]);
}

#[test]
fn steps_see_what_the_steps_before_them_left() {
    let blackbox = "- {source_labels: [__address__], target_label: __param_target}
        - {source_labels: [__param_target], target_label: instance}
        - {target_label: __address__, replacement: 'probe:9115'}";
    let after = "__address__=probe:9115 __param_target=host instance=host";
    check(&[
        (blackbox, "__address__=host", after),
        ("- {source_labels: [a], regex: '1', action: drop}\n- {target_label: b, replacement: c}", "a=1", "dropped"),
    ]);
}
