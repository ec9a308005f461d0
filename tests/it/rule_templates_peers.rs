//! Templates of alerts against the real Prometheus 3.5: promtool expands the same ones over the same samples.

use std::process::Command;

use fedgate::model::Labels;
use fedgate::promql::Cell;
use fedgate::rules::template::{Sample, Scope, Template, TemplateError};

use crate::site::prometheus::has_peer;

const EXTERNAL_URL: &str = "http://fedgate.example:9490/base";

/// Values as promtool reads them, and templates that are expanded over a sample of that value.
const CASES: &[(&str, &[&str])] = &[
    ("42", FIELDS),
    ("1234567.25", NUMBERS),
    ("0.00123", NUMBERS),
    ("-90061.5", NUMBERS),
    ("0", NUMBERS),
    ("NaN", NUMBERS),
    ("Inf", NUMBERS),
    ("1e15", NUMBERS),
    ("3", CONTROL),
    ("1", TEXTS),
    ("5", QUERIES),
    ("7", FAULTS),
];

const FIELDS: &[&str] = &[
    "plain text",
    "{{ $labels.instance }} of {{ .Labels.job }}: {{ $value }} {{ .Value }}",
    "{{ $externalLabels.site }} {{ .ExternalLabels.none }}|{{ $externalURL }} {{ .ExternalURL }}",
    "a {{- \" b \" -}} c {{/* nothing */}}d{{- /* trims */ -}} e",
    "{{ $labels }}",
    "{{ . }}",
    "{{ $ }}",
    "{{ $.Labels.job }}",
    "{{ .Labels.missing }}|{{ $labels.missing | printf \"%q\" }}",
    "{{ index $labels \"job\" }}{{ index .Labels \"none\" }}",
    "{{ len $labels }} {{ len .Labels.job }}",
    "{{ (index .Labels \"job\") }}",
    "{{ slice $labels.job 1 3 }}",
    "{{ $x := 3 }}{{ $x = 4 }}{{ $x }}",
    "{{ $x := 3 }}{{ if true }}{{ $x := 5 }}{{ $x }}{{ end }}{{ $x }}",
    "{{ 'a' }} {{ 0x10 }} {{ 1e3 }} {{ 1.0 }} {{ -5 }} {{ `raw\\n` }} {{ \"q\\\"\\t|\" }} {{ true }}",
    "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $value }}{{ template \"t\" }}{{ template \"t\" .Labels.job }}",
    "{{ block \"b\" .Labels }}{{ .job }}{{ end }}",
    "{{ print 1 2 \"a\" \"b\" 3 4.5 true nil }}",
    "{{ println \"a\" 1 }}",
    "{{ with $labels }}{{ .job }}{{ end }}{{ with .Labels.none }}x{{ else }}none{{ end }}",
    "{{ with .Labels.none }}x{{ else with .Labels.job }}{{ . }}{{ end }}",
];

const NUMBERS: &[&str] = &[
    "{{ $value }}",
    "{{ humanize $value }} {{ $value | humanize1024 }} {{ humanizeDuration $value }}",
    "{{ humanizePercentage $value }}",
    "{{ humanizeTimestamp $value }}",
    "{{ printf \"%.2f %6.1f|%-9.3g|%+e %08.2f %v %g %G % f\" $value $value $value $value $value $value $value $value $value }}",
    "{{ $value | printf \"%.0f\" }}",
    "{{ printf \"%d %s %q %t\" $value $value $value $value }}",
    "{{ if gt $value 1.0 }}big{{ else }}small{{ end }} {{ lt $value 0.0 }} {{ ge $value 0.0 }} {{ le $value 1.5 }}",
    "{{ eq $value 0.0 }} {{ ne $value 0.0 }} {{ eq $value 1.0 0.0 42.0 }}",
    "{{ not $value }} {{ and $value 1 }} {{ or $value \"none\" }}",
    "{{ toTime $value }}",
    "{{ ($value | toTime).Unix }} {{ (toTime $value).Year }}",
    "{{ (toTime $value).Format \"2006-01-02T15:04:05.000Z07:00\" }}",
];

const CONTROL: &[&str] = &[
    "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
    "{{ range .Labels }}{{ . }},{{ end }}",
    "{{ range $i, $x := query \"sort(m)\" }}{{ $i }}:{{ $x.Labels.instance }}={{ $x.Value }} {{ end }}",
    "{{ range query \"nothing\" }}x{{ else }}no data{{ end }}",
    "{{ range $i, $x := query \"sort(m)\" }}{{ if $i }}, {{ end }}{{ .Value }}{{ end }}",
    "{{ range query \"sort(m)\" }}{{ if eq .Labels.instance \"b\" }}{{ continue }}{{ end }}{{ .Labels.instance }}{{ end }}",
    "{{ range query \"sort(m)\" }}{{ .Labels.instance }}{{ break }}{{ end }}",
    "{{ range 3 }}{{ . }}{{ end }}",
    "{{ range args 1 \"two\" 3.5 }}{{ . }};{{ end }}",
    "{{ with args 1 \"two\" }}{{ .arg0 }} {{ .arg1 }} {{ .arg2 }}{{ end }}",
    "{{ if eq $labels.job \"api\" }}a{{ else if eq $labels.job \"node\" }}n{{ else }}x{{ end }}",
    "{{ if and (eq $labels.job \"node\") (gt $value 2.0) }}both{{ end }}",
    "{{ if or (eq $labels.job \"x\") (lt $value 2.0) }}one{{ else }}none{{ end }}",
    "{{ $sum := 0.0 }}{{ range query \"sort(m)\" }}{{ $sum = .Value }}{{ end }}{{ $sum }}",
    "{{ range $x := query \"sort(m)\" }}{{ range $y := query \"sort(m)\" }}{{ $x.Value }}{{ $y.Value }} {{ end }}{{ end }}",
    "{{- if $value }}\n  yes\n{{- end }}\n",
];

const TEXTS: &[&str] = &[
    "{{ title \"node_exporter foo-bar it's a.b 3abc élan x:y\" }}",
    "{{ toUpper \"straße\" }} {{ toLower \"ÀB\" }}",
    "{{ reReplaceAll \"(a+)(b*)\" \"<$1-$2>\" \"aabxa\" }} {{ reReplaceAll \"x\" \"$$\" \"axb\" }} {{ reReplaceAll \"\" \"-\" \"ab\" }}",
    "{{ reReplaceAll \"(?P<n>o)\" \"${n}${n}\" \"foo\" }}{{ \"a:b\" | reReplaceAll \":(.*)\" \"\" }}",
    "{{ match \"^n.*\" $labels.job }} {{ match \"x\" \"abc\" }}",
    "{{ stripPort \"host.example:9100\" }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"host\" }} {{ stripPort \"::1\" }} {{ stripPort \"a:b:c\" }}",
    "{{ stripDomain \"host.example:9100\" }} {{ stripDomain \"10.0.0.1:80\" }} {{ stripDomain \"host.example.org\" }} {{ stripDomain \"[::1]:80\" }} {{ stripDomain \"host\" }}",
    "{{ graphLink \"up{job=\\\"a b\\\"} > 1\" }} {{ tableLink \"sum(x)\" }}",
    "{{ html \"<a href='x'>&\\\"\" }} {{ urlquery \"a b&c=é/~\" }} {{ js \"it's <b> \\\"q\\\" \\\\\" }}",
    "{{ html 1 \"a\" nil }} {{ urlquery 1 2 }}",
    "{{ safeHtml \"<b>\" }}",
    "{{ parseDuration \"1h30m\" }} {{ parseDuration \"1d\" | humanizeDuration }}",
    "{{ \"3.5\" | humanize }} {{ humanize 1500 }} {{ \"1e3\" | humanizeDuration }}",
    "{{ printf \"%s|%10s|%-10s|%.2s|%q|%x|%v|%T\" \"abc\" \"abc\" \"abc\" \"abc\" \"a\\\"b\" \"az\" \"abc\" \"abc\" }}",
    "{{ printf \"%d|%5d|%-5d|%05d|%x|%X|%o|%b|%c|%q|%U|%+d|%#x|% d\" 65 65 65 65 165 165 8 5 65 65 65 65 255 7 }}",
    "{{ printf \"%t|%v|%5t|%s\" true false true true }}",
    "{{ printf \"%[2]s %[1]s\" \"a\" \"b\" }} {{ printf \"%*d|%.*f\" 5 42 2 3.14159 }}",
    "{{ printf \"%s\" 5 }} {{ printf \"%d\" \"a\" }} {{ printf \"%z\" 1 }} {{ printf \"%s\" }} {{ printf \"a\" 1 \"b\" }} {{ printf \"%\" }} {{ printf \"%!\" 1 }}",
    "{{ printf \"%v %s %d\" $labels $labels $labels }}",
    "{{ printf \"%v %v\" nil true }} {{ printf \"%s\" nil }}",
    "{{ printf \"%6.2f%%\" 12.345 }} {{ printf \"%e\" 123456.789 }} {{ printf \"%.3g\" 1234.5 }}",
    "{{ printf \"%T %T %T %T\" 1 1.5 true $labels }}",
    "{{ len \"héé\" }} {{ index \"abc\" 1 }} {{ slice \"abcdef\" 2 }} {{ slice \"abcdef\" 1 4 }}",
    "{{ eq \"a\" \"b\" \"a\" }} {{ ne 1 2 }} {{ lt \"a\" \"b\" }} {{ eq 1 1 }} {{ ge 2 2 }} {{ eq true true }}",
    "{{ \"a\" | printf \"%s-%s\" \"b\" }} {{ 5 | eq 5 }} {{ \"x\" | len }}",
    "{{ \"\\u00e9\\x41\" }} {{ printf \"%q\" \"\\u2028\\x01é\" }}",
];

const QUERIES: &[&str] = &[
    "{{ query \"sort(m)\" | first | value }}",
    "{{ query \"sort(m)\" | first | label \"instance\" }} {{ with query \"sort(m)\" }}{{ . | first | value | humanize }}{{ end }}",
    "{{ query \"sort(m)\" | sortByLabel \"instance\" | first | label \"instance\" }}",
    "{{ (query \"sort(m)\" | first).Value }} {{ (index (query \"sort(m)\") 1).Labels.instance }}",
    "{{ len (query \"sort(m)\") }} {{ (query \"sort(m)\" | first).Labels.__name__ }}",
    "{{ query \"nothing\" | first | value }}",
    "{{ printf \"sort(m)\" | query | first | value | printf \"%.1f\" }}",
    "{{ range query \"sort(m)\" | sortByLabel \"zone\" }}{{ .Labels.instance }}{{ end }}",
    "{{ query \"sort(m)\" | first | strvalue | printf \"%q\" }}",
    "{{ query \"sort(m)\" | first }}",
];

const FAULTS: &[&str] = &[
    "{{ $labels.job.none }}",
    "{{ .Nope }}",
    "{{ .Value.x }}",
    "{{ $value.x }}",
    "{{ .Labels.job 1 }}",
    "{{ $labels.job | .Labels.job }}",
    "{{ gt $value 5 }}",
    "{{ $value | eq 5 }}",
    "{{ eq $labels $labels }}",
    "{{ eq $value \"a\" }}",
    "{{ lt $labels 1 }}",
    "{{ humanize \"abc\" }}",
    "{{ humanize true }}",
    "{{ humanize $labels }}",
    "{{ toUpper 5 }}",
    "{{ toUpper $value }}",
    "{{ $value | toUpper }}",
    "{{ toUpper }}",
    "{{ toUpper \"a\" \"b\" }}",
    "{{ printf }}",
    "{{ index $labels 1 }}",
    "{{ index \"abc\" 7 }}",
    "{{ index $value 1 }}",
    "{{ len 5 }}",
    "{{ slice \"abc\" 2 1 }}",
    "{{ slice \"abc\" 9 }}",
    "{{ range $value }}x{{ end }}",
    "{{ template \"none\" }}",
    "{{ parseDuration \"x\" }}",
    "{{ 5 6 }}",
    "{{ nil }}",
    "{{ first nil }}",
    "{{ toUpper nil }}",
    "{{ toUpper (safeHtml \"a\") }}",
    "{{ args 1 | toUpper }}",
    "{{ (args 1).arg5.x }}",
    "text before\nand {{ $labels.job }}\n  {{ $labels.job.none }}",
    "{{ define \"t\" }}{{ .x.y }}{{ end }}{{ template \"t\" 5 }}",
    "{{ if gt $value (len \"abc\") }}x{{ end }}",
    "{{ range $i, $x := 3 }}x{{ end }}",
    "{{ eq 1 }}",
    "{{ not }}",
    "{{ label \"a\" $value }}",
    "{{ (5).x }}",
    "{{ call 5 }}",
    "{{ $x := 5 }}{{ $x.y }}",
];

/// Templates that promtool refuses to load.
const BROKEN: &[&str] = &[
    "{{ $labels.job ",
    "{{ nope }}",
    "{{ $nope }}",
    "{{ if }}x{{ end }}",
    "{{ if true }}x",
    "{{ end }}",
    "{{ else }}",
    "{{ if true }}{{ else }}{{ else }}{{ end }}",
    "{{ range $a, $b, $c := .Labels }}{{ end }}",
    "{{ range $a, 5 }}{{ end }}",
    "{{ $a, $b := 5 }}",
    "{{ break }}",
    "{{ 3 | 4 }}",
    "{{ \"a }}",
    "{{ 'a }}",
    "{{ 3k }}",
    "{{ | . }}",
    "{{ (5 }}",
    "{{ 5) }}",
    "{{ }}",
    "{{ true.x }}",
    "{{ \"\\z\" }}",
    "{{ template }}",
    "{{ template x }}",
    "{{ define \"x\" }}",
    "{{ .x$ }}",
    "{{ , }}",
    "{{ 99999999999999999999 }}",
    "{{ $x : 5 }}",
    "{{/* open }}",
    "a\nb\n{{ nope }}",
    "{{ if\n\n nope }}{{ end }}",
    "{{ now }}",
    "{{ else if }}",
    "{{ with true }}{{ else if true }}{{ end }}",
    "{{ \u{1} }}",
];

fn sample(name: &str, instance: &str, value: f64) -> Sample {
    let zone = if instance == "b" { "1" } else { "2" };
    Sample {
        labels: Labels::from_pairs([("__name__", name), ("instance", instance), ("zone", zone)]),
        value: Cell::Float(value),
    }
}

/// What promtool's engine answers over the input of [`test_file`].
fn query(expression: &str) -> Result<Vec<Sample>, String> {
    match expression {
        "sort(m)" => Ok(vec![sample("m", "a", 1.0), sample("m", "b", 2.5), sample("m", "c", 3e6)]),
        _ => Ok(Vec::new()),
    }
}

fn number(written: &str) -> f64 {
    written.parse().expect("a float")
}

fn case_labels(case: &str) -> Labels {
    Labels::from_pairs([("__name__", "v"), ("case", case), ("job", "node"), ("instance", "h.example:9100")])
}

fn expand(alert: &str, case: &str, value: f64, text: &str) -> String {
    let labels = case_labels(case);
    let external_labels = Labels::from_pairs([("site", "north")]);
    let scope = Scope {
        labels: &labels,
        external_labels: &external_labels,
        external_url: EXTERNAL_URL,
        value: &Cell::Float(value),
        query: &query,
    };
    Template::parse(alert, text).expect(text).expand_or_explain(&scope)
}

/// JSON strings are YAML, too.
fn yaml(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn promtool(&self, arguments: &[&str], file: &str) -> (bool, String) {
        let output = Command::new("promtool").args(arguments).arg(self.folder.path().join(file)).output();
        let output = output.expect("promtool runs");
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("the folder can be written");
    }
}

/// One alert a template; what fedgate makes of it is what promtool is told to expect.
#[test]
fn promtool_expands_templates_to_the_same_text() {
    if !has_peer("promtool", "3.5.") {
        return;
    }
    let files = Files { folder: tempfile::tempdir().expect("a folder") };
    let (mut rules, mut series, mut tests) = (String::new(), String::new(), String::new());
    for (case, (value, templates)) in CASES.iter().enumerate() {
        series.push_str(&format!(
            "      - series: 'v{{case=\"{case}\",job=\"node\",instance=\"h.example:9100\"}}'\n        values: '{value}'\n"
        ));
        for (nth, template) in templates.iter().enumerate() {
            let alert = format!("C{case}_{nth}");
            rules.push_str(&format!(
                "      - alert: {alert}\n        expr: v{{case=\"{case}\"}}\n        annotations:\n          text: {}\n",
                yaml(template)
            ));
            let expected = expand(&alert, &case.to_string(), number(value), template);
            tests.push_str(&format!(
                "      - eval_time: 0m\n        alertname: {alert}\n        exp_alerts:\n          - exp_labels: {{case: \"{case}\", job: node, \
                 instance: \"h.example:9100\"}}\n            exp_annotations:\n              text: {}\n",
                yaml(&expected)
            ));
        }
    }
    files.write("rules.yml", &format!("groups:\n  - name: g\n    rules:\n{rules}"));
    let m = [("a", "1"), ("b", "2.5"), ("c", "3e6")].map(|(instance, value)| {
        let zone = if instance == "b" { "1" } else { "2" };
        format!("      - series: 'm{{instance=\"{instance}\",zone=\"{zone}\"}}'\n        values: '{value}'\n")
    });
    files.write(
        "test.yml",
        &format!(
            "rule_files: [rules.yml]\ntests:\n  - interval: 1m\n    external_labels: {{site: north}}\n    external_url: {EXTERNAL_URL}\n    \
             input_series:\n{series}{}    alert_rule_test:\n{tests}",
            m.concat()
        ),
    );
    let (is_good, said) = files.promtool(&["test", "rules"], "test.yml");
    assert!(is_good, "{said}");
}

#[test]
fn promtool_refuses_broken_templates_in_the_same_words() {
    if !has_peer("promtool", "3.5.") {
        return;
    }
    let files = Files { folder: tempfile::tempdir().expect("a folder") };
    let mut rules = String::new();
    for (nth, template) in BROKEN.iter().enumerate() {
        rules.push_str(&format!(
            "      - alert: B{nth}x\n        expr: up\n        annotations:\n          text: {}\n",
            yaml(template)
        ));
    }
    files.write("rules.yml", &format!("groups:\n  - name: g\n    rules:\n{rules}"));
    let (is_good, said) = files.promtool(&["check", "rules"], "rules.yml");
    assert!(!is_good, "{said}");
    let mut missing = Vec::new();
    for (nth, template) in BROKEN.iter().enumerate() {
        let text = match Template::parse(&format!("B{nth}x"), template) {
            Err(TemplateError::Parse { text, .. }) => text,
            Ok(_) => "accepted".to_owned(),
            Err(other) => other.to_string(),
        };
        if !said.lines().any(|line| line.ends_with(&text)) {
            let theirs = said.lines().find(|line| line.contains(&format!("__alert_B{nth}x:"))).unwrap_or_default();
            missing.push(format!("{template}\n  ours:   {text}\n  theirs: {theirs}"));
        }
    }
    assert!(missing.is_empty(), "{}\n{said}", missing.join("\n"));
}
