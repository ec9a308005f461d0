//! Generated questions over generated samples, asked of fedgate's engine and of the real Prometheus 3.5: equal answers.
//!
//! Status, kind of error, series, samples, warnings and infos are compared: numbers by their bits, those that a sum of floats
//! or a transcendental function went into within 4 units in the last place. What a Prometheus itself leaves open (the order
//! of series that are not sorted, which two of many duplicates an error names) is not compared. Every difference that is known has
//! a line and a reason in [`KNOWN`].
//!
//! Each function, operator and modifier is shown by at least [`SHOWN_MIN`] questions whose answer holds more than nothing and
//! NaN. The test counts that and prints the table (`--nocapture`). More seeds, as many as wanted:
//!
//! ```sh
//! PATH="$(.ci/peers)":$PATH FEDGATE_SEEDS=1..50 cargo test --test it promql_differential -- --nocapture
//! ```

use std::collections::BTreeMap;

use super::dice::Dice;
use super::promql::answer::{Answer, is_same};
use super::promql::both::{Ours, Theirs};
use super::promql::expressions::{Question, question, traits};
use super::promql::samples::series_of;

/// Questions made for each trait in one seed, and how many at most until it is shown.
const ASKED: usize = 36;
const ASKED_MAX: usize = 120;
/// Telling answers that each trait needs.
const SHOWN_MIN: usize = 20;
/// Units in the last place that rounding may cost.
const ULPS: u64 = 4;
/// The seed of every ordinary run.
const SEED: u64 = 1;

/// Differences that are meant: a part of the expression, a part of what one of the two says, and why.
const KNOWN: [(&str, &str, &str); 1] = [(
    "info(",
    " _",
    "Prometheus 3.5 finds a series' info by its place among those that have a sample at the step: where one has none, the \
     others get their neighbours' labels",
)];

fn is_known(question: &Question, differing: &str) -> bool {
    KNOWN.iter().any(|(part, said, _)| question.expression.contains(part) && differing.contains(said))
}

/// What of an answer is compared.
fn compared(question: &Question, answer: &Answer) -> Vec<String> {
    let is_ordered = question.expression.starts_with("sort_by_label");
    answer.lines(is_ordered && !question.is_range)
}

/// What a seed came to.
#[derive(Default)]
struct Outcome {
    asked: usize,
    /// Equal but for some last bits.
    near: usize,
    differences: Vec<String>,
}

impl Outcome {
    fn compare(&mut self, question: &Question, ours: &Answer, theirs: &Answer) {
        let (one, other) = (compared(question, ours), compared(question, theirs));
        self.asked += 1;
        match (one == other, is_same(&one, &other, ULPS)) {
            (true, _) => {}
            (false, true) => self.near += 1,
            (false, false) => self.differences.extend(told(question, &one, &other)),
        }
    }
}

/// A difference for a person to read, unless it is known.
fn told(question: &Question, one: &[String], other: &[String]) -> Option<String> {
    let only = |lines: &[String], others: &[String], mark: &str| -> String {
        let lines = lines.iter().filter(|line| !others.contains(line)).take(4);
        lines.map(|line| format!("  {mark} {}\n", line.chars().take(600).collect::<String>())).collect()
    };
    let when = if question.is_range { format!("{:?}", question.steps) } else { question.steps.start.to_string() };
    let text =
        format!("{} at {when}\n{}{}", question.expression, only(one, other, "ours  "), only(other, one, "theirs"));
    (!is_known(question, &text)).then_some(text)
}

/// How often each trait was shown.
type Shown = BTreeMap<&'static str, usize>;

fn ask_all(seed: u64, shown: &mut Shown) -> Option<Outcome> {
    let series = series_of(seed);
    let theirs = Theirs::start(&series)?;
    let ours = Ours::new(&series);
    let mut dice = Dice(seed.wrapping_mul(7919));
    let mut outcome = Outcome::default();
    for what in traits() {
        let is_shown = |shown: &Shown| shown.get(what).is_some_and(|count| *count >= SHOWN_MIN);
        for number in 0..ASKED_MAX {
            if number >= ASKED && is_shown(shown) {
                break;
            }
            let question = question(&mut dice, what);
            let (one, other) = (ours.ask_question(&question), theirs.ask_question(&question));
            if one.is_telling() && other.is_telling() {
                question.shows.iter().for_each(|what| *shown.entry(what).or_default() += 1);
            }
            outcome.compare(&question, &one, &other);
        }
    }
    Some(outcome)
}

/// `FEDGATE_SEEDS=3` or `FEDGATE_SEEDS=1..50`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FEDGATE_SEEDS") else { return SEED..SEED + 1 };
    let number = |text: &str| text.parse::<u64>().expect("FEDGATE_SEEDS is N or FROM..TO");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

#[test]
fn generated_questions_have_equal_answers() {
    let (mut shown, mut differences) = (Shown::new(), Vec::<String>::new());
    for seed in seeds() {
        let Some(outcome) = ask_all(seed, &mut shown) else { return };
        let Outcome { asked, near, differences: found } = outcome;
        println!("seed {seed}: {asked} questions, {near} equal but for last bits, {} different", found.len());
        differences.extend(found);
    }
    for what in traits() {
        println!("{what:<30} {}", shown.get(what).unwrap_or(&0));
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(60)].join("\n")
    );
    let rare: Vec<_> =
        traits().into_iter().filter(|what| shown.get(what).is_none_or(|count| *count < SHOWN_MIN)).collect();
    assert!(rare.is_empty(), "shown by fewer than {SHOWN_MIN} telling answers: {rare:?}");
}
