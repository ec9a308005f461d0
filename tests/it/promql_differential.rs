//! Generated questions over generated samples, asked of fedgate's engine and of the real Prometheus 3.5: equal answers.
//!
//! Status, kind of error, series, samples, warnings and infos are compared, as `promql/differences.rs` says; which differences are
//! known and why stands there, too.
//!
//! Each function, operator and modifier is shown by at least [`SHOWN_MIN`] questions whose answer holds more than nothing and
//! NaN. The test counts that and prints the table (`--nocapture`). More seeds, as many as wanted:
//!
//! ```sh
//! PATH="$(.ci/peers)":$PATH FEDGATE_SEEDS=1..50 cargo test --test it promql_differential -- --nocapture
//! ```

use std::collections::BTreeMap;

use super::dice::{Dice, seeds};
use super::promql::answer::Answer;
use super::promql::both::{Ours, Theirs};
use super::promql::differences::{Verdict, judge};
use super::promql::expressions::{Question, question, traits};
use super::promql::samples::{START_MS, series_of};

/// Questions made for each trait in one seed, and how many at most until it is shown.
const ASKED: usize = 36;
const ASKED_MAX: usize = 120;
/// Telling answers that each trait needs.
const SHOWN_MIN: usize = 20;
/// The seed of every ordinary run.
const SEED: u64 = 1;

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
        self.asked += 1;
        match judge(question, ours, theirs) {
            Verdict::Equal | Verdict::Known => {}
            Verdict::Near => self.near += 1,
            Verdict::Different(text) => self.differences.push(text),
        }
    }
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
            let question = question(&mut dice, what, START_MS);
            let (one, other) = (ours.ask_question(&question), theirs.ask_question(&question));
            if one.is_telling() && other.is_telling() {
                question.shows.iter().for_each(|what| *shown.entry(what).or_default() += 1);
            }
            outcome.compare(&question, &one, &other);
        }
    }
    Some(outcome)
}

#[test]
fn generated_questions_have_equal_answers() {
    let (mut shown, mut differences) = (Shown::new(), Vec::<String>::new());
    for seed in seeds(SEED) {
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
