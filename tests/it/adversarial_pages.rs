//! Pages that test a reader: generated from the formats' grammars with odd tokens, and real ones mutilated, all from one
//! seed.
//!
//! Most tokens of a page are ordinary, or every page would be refused at its first line; how many are odd is the page's own.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fedgate::exposition::Format;

use super::exposition_document;

/// A page and how it is served.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// Its samples' own timestamps all lie close to the time that it was made for, or far ahead.
    pub(crate) honors_timestamps: bool,
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_1: &str = "text/plain; version=1.0.0; escaping=allow-utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const ODD_TYPES: [&str; 16] = [
    "text/plain",
    "TEXT/Plain;version=0.0.4",
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores;",
    "text/plain; version=\"1.0.0\"",
    "text/plain;version=7",
    "application/openmetrics-text",
    "application/openmetrics-text; version=0.0.1; charset=utf-8",
    "application/openmetrics-text;version=2.0.0",
    "application/OpenMetrics-Text; version=1.0.0",
    "text/html",
    "text/plain; nonsense",
    "text/plain; charset",
    "plain",
    "application/json",
    "*/*",
    " text/plain ; version=0.0.4 ",
];

const NAMES: [&str; 10] =
    ["a", "b_total", "a:b", "_x", "__x", "h_bucket", "h_sum", "h_count", "s", "node_cpu_seconds_total"];
const ODD_NAMES: [&str; 12] = ["é", "1a", "a.b", "nan", "NaN", ":", "a-b", "", "  a", "\ta", "a\u{0}", "Inf"];
const QUOTED: [&str; 4] = ["\"m.n\"", "\"é ü\"", "\"a\"", "\"a b\\\"c\""];
const ODD_QUOTED: [&str; 8] =
    ["\"\"", "\"a\\nb\"", "\"a\nb\"", "\"x\\\\\"", "\"open", "\"a\\q\"", "\"\\\"\"", "\"a\u{0}\""];
const LABELS: [&str; 9] = ["l", "x", "le", "quantile", "_y", "job", "page", "\"l.q\"", "instance"];
const ODD_LABELS: [&str; 10] =
    ["__name__", "a:b", "1", "é", "\"\"", "\"é\"", "\"__name__\"", "__x__", "exported_page", "l-x"];
const LABEL_VALUES: [&str; 14] =
    ["", "1", "0.5", "v", "a b", "é", "\\\"", "\\\\", "\\n", "+Inf", "1e3", "x=\\\"y\\\"", "# EOF", "   "];
const ODD_LABEL_VALUES: [&str; 9] = ["\n", "\\", "\\q", "\\x41", "\u{0}", "\u{feff}", "nan", "1_0", "\r"];
const VALUES: [&str; 12] = [
    "1",
    "0",
    "-1",
    "0.25",
    "1e6",
    "NaN",
    "+Inf",
    "-Inf",
    "12345678901234567",
    "1.7976931348623157e308",
    "5e-324",
    "3",
];
const ODD_VALUES: [&str; 40] = [
    "nan",
    "nAn",
    "inf",
    "Infinity",
    "-infinity",
    "+1",
    "-0",
    "0x10",
    "0x1p-2",
    "1_000",
    "1e999",
    "-1e999",
    "1e-999",
    ".5",
    "5.",
    ".",
    "-",
    "+",
    "e5",
    "1e",
    "1e+",
    "1E+3",
    "007",
    "1,5",
    "--1",
    "+nan",
    "-NaN",
    "infinit",
    "1d",
    "0b1",
    "0o7",
    "9223372036854775808",
    "18446744073709551616",
    "0.1e1",
    "1f",
    "2.2250738585072011e-308",
    "179769313486231570814527423731704356798070567525844996598917476803157260780028538760589558632766878171540458953514382464234321326889464182768467546703537516986049910576551282076245490090389328944075868508455133942304583236903222948165808559332123347764797926207231123347",
    "1.00000000000000011102230246251565404236316680908203125",
    "4.35",
    "",
];
const ODD_TIMES: [&str; 16] = [
    "0",
    "-1",
    "1",
    "1.5",
    "-0",
    "99999999999999999999",
    "9223372036854775807",
    "1e3",
    "nan",
    "inf",
    "0x1",
    "1_0",
    "abc",
    "+5",
    "1795000000000",
    "1795000000.123456",
];
const EXEMPLAR_TIMES: [&str; 4] = ["1795000000.5", "1.5", "0", "1795000000"];
/// None beyond every clock: Go leaves open what becomes of them.
const ODD_EXEMPLAR_TIMES: [&str; 6] = ["-1", "1e3", "nan", "inf", "1_0", "abc"];
const BLANKS: [&str; 5] = ["", "  ", "\t", " \t ", "\r"];
const METADATA: [&str; 12] = [
    "# TYPE a gauge",
    "# TYPE b_total counter",
    "# TYPE b counter",
    "# TYPE h histogram",
    "# TYPE s summary",
    "# TYPE a untyped",
    "# HELP a A text.",
    "# HELP h with \\\\ and \\n",
    "# TYPE \"m.n\" gauge",
    "# HELP \"é ü\" quoted",
    "# HELP node_cpu_seconds_total Seconds.",
    "# TYPE node_cpu_seconds_total counter",
];
const ODD_METADATA: [&str; 40] = [
    "#",
    "# ",
    "#comment",
    "# comment",
    "  # comment",
    "# TYPE",
    "# TYPE a",
    "# TYPE a ",
    "# TYPE a  gauge",
    "# TYPE a sausage",
    "# TYPE a Gauge",
    "#TYPE a gauge",
    "#  TYPE a gauge",
    "# TYPE\ta\tgauge",
    "# HELP",
    "# HELP a",
    "# HELP a ",
    "# HELP  a  text ",
    "# HELP 1 text",
    "# HELP a \\q\\\"",
    "# UNIT a_seconds seconds",
    "# UNIT a seconds",
    "# UNIT a ",
    "# UNIT a",
    "# EOF",
    "# EOF ",
    "#EOF",
    "# eof",
    "# TYPE a unknown",
    "# TYPE a info",
    "# TYPE a stateset",
    "# TYPE a gaugehistogram",
    "# TYPE a gauge extra",
    "# TYPE \"\" gauge",
    "# HELP \"open text",
    "# HELP a tab\there",
    "# TYPE a\u{0} gauge",
    "# HELP a \u{feff}",
    "# TYPE a gauge\r",
    "",
];
const ODD_BYTES: &[u8] = b"{}\"\\=, \t\n\r#eE+-.1aN:_\xff\xc3";

/// So many pages from one seed; timestamps that count lie around `now_ms`.
pub(crate) fn pages(seed: u64, count: usize, now_ms: i64) -> Vec<Page> {
    let mut dice = Dice(seed);
    let bases = bases();
    let mut pages = documented();
    while pages.len() < count {
        let page = if dice.percent(65) { generated(&mut dice, now_ms) } else { mutilated(&mut dice, &bases) };
        if !ends_prometheus(&page.body) {
            pages.push(page);
        }
    }
    pages
}

/// The examples of the document.
fn documented() -> Vec<Page> {
    let page = |(format, page, _): (Format, String, bool)| {
        let content_type = if format == Format::OpenMetrics { OPENMETRICS } else { TEXT };
        Page { content_type, body: page.into_bytes(), honors_timestamps: false }
    };
    exposition_document::examples().into_iter().map(page).collect()
}

/// Whether a page may have an unquoted name without a value within braces: `{x} 1` ends the process of Prometheus 3.5.3,
/// and of longer names it cuts the first and the last letter.
fn ends_prometheus(page: &[u8]) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
    (0..page.len()).filter(|at| matches!(page[*at], b',' | b'}')).any(|end| {
        let before = &page[..end];
        let before = &before[..before.len() - before.iter().rev().take_while(is_blank).count()];
        let name = before.iter().rev().take_while(|byte| is_name(**byte)).count();
        name > 0 && matches!(before[..before.len() - name].last(), Some(b'{' | b',' | b'"' | b' ' | b'\t'))
    })
}

fn content_type(dice: &mut Dice, is_openmetrics: bool) -> &'static str {
    match (is_openmetrics, dice.below(20)) {
        (_, 0) => dice.of(&ODD_TYPES),
        (true, _) => OPENMETRICS,
        (false, 1..5) => TEXT_1,
        (false, _) => TEXT,
    }
}

/// How odd a page is, and what its lines are made of.
struct Writer<'d> {
    dice: &'d mut Dice,
    oddness: usize,
    is_openmetrics: bool,
    /// In place of odd timestamps.
    now_ms: Option<i64>,
    page: String,
}

fn generated(dice: &mut Dice, now_ms: i64) -> Page {
    let is_openmetrics = dice.percent(45);
    let honors_timestamps = dice.percent(35);
    let oddness = dice.of(&[0, 1, 1, 2, 2, 4, 8, 20]);
    let lines = 1 + dice.below(9);
    let mut writer =
        Writer { dice, oddness, is_openmetrics, now_ms: honors_timestamps.then_some(now_ms), page: String::new() };
    if writer.is_odd() && writer.is_odd() {
        writer.page.push('\u{feff}');
    }
    for _ in 0..lines {
        match writer.dice.below(10) {
            0..3 => writer.metadata(),
            _ => writer.sample(),
        }
        writer.line_end();
    }
    writer.page_end();
    let body = writer.page.into_bytes();
    Page { content_type: content_type(dice, is_openmetrics), body, honors_timestamps }
}

impl Writer<'_> {
    fn is_odd(&mut self) -> bool {
        self.dice.percent(self.oddness)
    }

    fn token(&mut self, plain: &[&str], odd: &[&str]) {
        let choices = if self.is_odd() { odd } else { plain };
        let token = self.dice.of(choices);
        self.page.push_str(token);
    }

    fn blank(&mut self) {
        self.token(&[" "], &BLANKS);
    }

    /// Where the text format allows blanks and OpenMetrics does not.
    fn free_blank(&mut self) {
        let oddness = if self.is_openmetrics { self.oddness } else { 10 };
        if self.dice.percent(oddness) {
            self.page.push_str(self.dice.of(&[" ", "\t", "  "]));
        }
    }

    fn metadata(&mut self) {
        self.token(&METADATA, &ODD_METADATA);
    }

    fn line_end(&mut self) {
        self.token(&["\n"], &["\r\n", "", "\n\n", " \n", "\n "]);
    }

    fn page_end(&mut self) {
        if self.is_openmetrics {
            self.token(
                &["# EOF\n", "# EOF"],
                &["", "# EOF\n\n", "# EOF ", "#EOF\n", "# EOF\na 1\n", "# EOF\r\n", "EOF"],
            );
        } else if self.is_odd() {
            self.page.pop();
        }
    }

    fn sample(&mut self) {
        if !self.is_openmetrics && self.dice.percent(5) {
            self.page.push_str(self.dice.of(&[" ", "\t"]));
        }
        match self.dice.below(10) {
            0..3 => self.token(&NAMES, &ODD_NAMES),
            3..8 => {
                self.token(&NAMES, &ODD_NAMES);
                self.free_blank();
                self.braces(false);
            }
            _ => self.braces(true),
        }
        self.blank();
        self.token(&VALUES, &ODD_VALUES);
        if self.dice.percent(25) {
            self.blank();
            self.time();
        }
        let exemplar_chance = if self.is_openmetrics { 20 } else { self.oddness };
        if self.dice.percent(exemplar_chance) {
            self.exemplar();
        }
    }

    fn braces(&mut self, has_name: bool) {
        self.page.push('{');
        let labels = self.dice.below(4);
        let name_at = if has_name { self.dice.below(labels + 1) } else { usize::MAX };
        // The name stands first but for odd pages.
        let name_at = if has_name && !self.is_odd() { 0 } else { name_at };
        for at in 0..labels + usize::from(has_name) {
            if at > 0 {
                self.token(&[","], &["", ",,", ";", " , "]);
            }
            self.free_blank();
            match at == name_at {
                true => self.token(&QUOTED, &ODD_QUOTED),
                false => self.label(),
            }
            self.free_blank();
        }
        self.token(&["", "", ""], &[",", "}", " "]);
        self.token(&["}"], &["", "} }", ")"]);
    }

    fn label(&mut self) {
        self.token(&LABELS, &ODD_LABELS);
        self.free_blank();
        self.token(&["="], &["", "==", ":", "=~"]);
        self.free_blank();
        self.token(&["\""], &["", "'", "\"\""]);
        self.token(&LABEL_VALUES, &ODD_LABEL_VALUES);
        self.token(&["\""], &["", "'", "\\\""]);
    }

    fn time(&mut self) {
        let Some(now_ms) = self.now_ms else {
            let odd = self.dice.percent(50);
            let plain = if self.is_openmetrics { "1795000000.5" } else { "1795000000000" };
            let time = if odd { self.dice.of(&ODD_TIMES) } else { plain };
            return self.page.push_str(time);
        };
        let offset = self.dice.of(&[-600_000, -60_000, -1, -1001, -59_999, 2_000_000_000]);
        let at = now_ms + offset;
        let text = if self.is_openmetrics { format!("{}.{:03}", at / 1000, at % 1000) } else { at.to_string() };
        self.page.push_str(&text);
    }

    fn exemplar(&mut self) {
        self.token(&[" # "], &[" #", "# ", " #  ", " \t# "]);
        self.braces(false);
        self.blank();
        self.token(&VALUES, &ODD_VALUES);
        if self.dice.percent(40) {
            self.blank();
            self.token(&EXEMPLAR_TIMES, &ODD_EXEMPLAR_TIMES);
        }
    }
}

/// What is mutilated: pages of the corner cases that were collected, and the beginnings of real exporters' pages.
fn bases() -> Vec<(bool, Vec<u8>)> {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |name: &str| fs::read(fixtures.join(name)).expect("a fixture");
    let cases: Vec<BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(&read("exposition-grammar.json")).expect("JSON");
    let mut bases: Vec<(bool, Vec<u8>)> = cases
        .iter()
        .filter_map(|case| Some((case["content_type"].as_str()?, case.get("body")?.as_str()?)))
        .map(|(kind, body)| (kind.contains("openmetrics"), body.as_bytes().to_vec()))
        .collect();
    for name in ["edge-cases.prom", "prometheus-3.5.3.prom", "jontk-0.1.0-alpha.prom", "sckyzo-1.8-alpha.om"] {
        let page = read(&format!("expositions/{name}"));
        let is_openmetrics = name.ends_with(".om");
        for lines in [4, 12, 25] {
            let cut: usize = page.split_inclusive(|byte| *byte == b'\n').take(lines).map(<[u8]>::len).sum();
            let end: &[u8] = if is_openmetrics { b"# EOF\n" } else { b"" };
            bases.push((is_openmetrics, [&page[..cut], end].concat()));
        }
    }
    bases
}

fn mutilated(dice: &mut Dice, bases: &[(bool, Vec<u8>)]) -> Page {
    let (is_openmetrics, mut body) = bases[dice.below(bases.len())].clone();
    for _ in 0..1 + dice.below(3) {
        mutilate(dice, &mut body);
    }
    // Now and then a page is announced as what it is not.
    let is_openmetrics = is_openmetrics != dice.percent(4);
    Page { content_type: content_type(dice, is_openmetrics), body, honors_timestamps: false }
}

fn mutilate(dice: &mut Dice, body: &mut Vec<u8>) {
    if body.is_empty() {
        return;
    }
    let at = dice.below(body.len());
    let line = |body: &[u8], at: usize| {
        let start = body[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        let end = body[at..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |after| at + after + 1);
        start..end
    };
    match dice.below(8) {
        0 => body[at] = dice.of(ODD_BYTES),
        1 | 2 => body.insert(at, dice.of(ODD_BYTES)),
        3 => drop(body.remove(at)),
        4 => body.truncate(at),
        5 => drop(body.drain(line(body, at))),
        6 => {
            let (copied, target) = (body[line(body, at)].to_vec(), dice.below(body.len()));
            let start = line(body, target).start;
            body.splice(start..start, copied);
        }
        _ => {
            let start = line(body, at).start;
            let odd = [dice.of(&ODD_METADATA), "\n"].concat();
            body.splice(start..start, odd.into_bytes());
        }
    }
}
