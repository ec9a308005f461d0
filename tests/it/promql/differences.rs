//! What differs between two answers to one generated question, and which differences are meant.
//!
//! Numbers are compared by their bits, those that a sum of floats or a transcendental function went into within [`ULPS`] units in
//! the last place. What a Prometheus itself leaves open is not compared: the order of series that are not sorted.

use super::answer::{Answer, is_same};
use super::expressions::Question;

/// Units in the last place that rounding may cost.
const ULPS: u64 = 4;
/// The same where series were visited in orders of their own: what is left of two large numbers then differs.
const ULPS_OF_ORDER: u64 = 1 << 16;

/// Differences that are meant: a part of the expression, a part of what one of the two says, and why.
const KNOWN: [(&str, &str, &str); 4] = [
    (
        "info(",
        " _",
        "Prometheus 3.5 finds a series' info by its place among those that have a sample at the step: where one has none, the \
         others get their neighbours' labels",
    ),
    (
        "@",
        "\"<Item ",
        "Prometheus 3.5 has no word for `@` where it is unexpected, and prints its number in the grammar",
    ),
    ("[", "in subquery ", "Prometheus 3.5 takes any letter behind a range's duration for a colon"),
    ("[", "unexpected colon '", "the same, of a word's second letter"),
];

/// How two answers stand to one another.
pub(crate) enum Verdict {
    Equal,
    /// But for some last bits.
    Near,
    /// One of those that are known, or are left open.
    Known,
    /// For a person to read.
    Different(String),
}

/// Compares ours with Prometheus's, where both visited series in the same order.
pub(crate) fn judge(question: &Question, ours: &Answer, theirs: &Answer) -> Verdict {
    judge_within(ULPS, question, ours, theirs)
}

/// The same where each has an order of its own.
pub(crate) fn judge_unordered(question: &Question, ours: &Answer, theirs: &Answer) -> Verdict {
    let has = |words: &[&str]| words.iter().any(|word| question.expression.contains(word));
    let ulps = if has(&["stddev", "stdvar"]) { ULPS_OF_ORDER } else { ULPS };
    // What stands in a sum's bucket that another one's zero bucket reaches into depends on which of them was first.
    let is_of_zeros = has(&["sum", "avg"]) && has(&["native_level"]);
    match judge_within(ulps, question, ours, theirs) {
        Verdict::Different(_) if (!question.is_determined() || is_of_zeros) && is_same_kind(ours, theirs) => {
            Verdict::Known
        }
        verdict => verdict,
    }
}

/// Both give rows, or both refuse.
fn is_same_kind(ours: &Answer, theirs: &Answer) -> bool {
    ours.notes.len() == theirs.notes.len() && ours.rows.is_empty() == theirs.rows.is_empty()
}

fn judge_within(ulps: u64, question: &Question, ours: &Answer, theirs: &Answer) -> Verdict {
    let is_ordered = question.expression.starts_with("sort_by_label") && !question.is_range;
    let (one, other) = (ours.lines(is_ordered), theirs.lines(is_ordered));
    match one == other {
        true => Verdict::Equal,
        false if is_same(&one, &other, ulps) => Verdict::Near,
        false => told(question, &one, &other).map_or(Verdict::Known, Verdict::Different),
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

fn is_known(question: &Question, differing: &str) -> bool {
    KNOWN.iter().any(|(part, said, _)| question.expression.contains(part) && differing.contains(said))
}
