//! `label_replace` and `label_join`: new labels on the same cells.
//!
//! Both look at a row's labels alone, once for all steps. Rows without a sample get no labels, so that they collide with none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Labels, LabelsBuilder, Template, anchored_regex};
use crate::promql::notes::EvalError;
use crate::promql::rows::Rows;
use crate::promql::value::{ABSENT, Vector};

/// Sets `target` to what `replacement` makes of the groups that `pattern` finds in the whole of `source`; rows that it does not
/// match stay.
pub(super) fn replace(
    vector: Vector,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &str,
) -> Result<Vector, EvalError> {
    let Ok(regex) = anchored_regex(pattern) else {
        return Err(EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}")));
    };
    check_name(target, "destination", "label_replace")?;
    let template = Template::new(replacement, &regex);
    let mut captures = regex.create_captures();
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    relabelled(vector, |labels| {
        let value = labels.get(source).unwrap_or_default();
        if !known.contains_key(value) {
            regex.captures(value, &mut captures);
            let replaced = captures.is_match().then(|| template.expand(value, &captures));
            known.insert(value.to_owned(), replaced);
        }
        match &known[value] {
            Some(replaced) => LabelsBuilder::from_labels(labels).set(target, replaced).build(),
            None => labels.clone(),
        }
    })
}

/// Sets `target` to the values of `sources` with `separator` between them.
pub(super) fn join(vector: Vector, target: &str, separator: &str, sources: &[Arc<str>]) -> Result<Vector, EvalError> {
    for source in sources {
        check_name(source, "source", "label_join")?;
    }
    check_name(target, "destination", "label_join")?;
    relabelled(vector, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
        LabelsBuilder::from_labels(labels).set(target, &values.join(separator)).build()
    })
}

/// Any text but none is a name.
fn check_name(name: &str, role: &str, function: &str) -> Result<(), EvalError> {
    match name.is_empty() {
        true => Err(EvalError::Execution(format!("invalid {role} label name in {function}(): {name}"))),
        false => Ok(()),
    }
}

/// The label sets must stay distinct, over all steps together.
fn relabelled(vector: Vector, mut relabel: impl FnMut(&Labels) -> Labels) -> Result<Vector, EvalError> {
    let mut labels = vec![Labels::empty(); vector.rows.len()];
    for (row, own) in vector.rows.labels_where(|row| is_live(&vector, row)) {
        labels[row] = relabel(&own);
    }
    let mut seen = HashSet::with_capacity(labels.len());
    for (row, labels) in labels.iter().enumerate() {
        if is_live(&vector, row) && !seen.insert(labels) {
            let text = "vector cannot contain metrics with the same labelset";
            return Err(EvalError::Execution(text.to_owned()));
        }
    }
    Ok(Vector { rows: Rows::built(labels), cells: vector.cells })
}

/// Whether a row has a sample at some step.
pub(super) fn is_live(vector: &Vector, row: usize) -> bool {
    let steps = vector.cells.floats.len() / vector.rows.len();
    vector.cells.floats[row * steps..][..steps].iter().any(|cell| cell.to_bits() != ABSENT)
}
