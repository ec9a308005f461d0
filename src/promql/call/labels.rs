//! `label_replace` and `label_join`: new labels on the same cells.
//!
//! Both look at a row's labels alone, so what they make of a block of rows is kept in the plan. That the new label sets are distinct is
//! the engine's to check, over all steps together.

use std::collections::HashMap;
use std::sync::Arc;

use super::CallContext;
use crate::model::{Labels, LabelsBuilder, Template, anchored_regex};
use crate::promql::notes::EvalError;
use crate::promql::value::{ABSENT, Vector};

/// Sets `target` to what `replacement` makes of the groups that `pattern` finds in the whole of `source`; rows that it does not
/// match stay.
pub(super) fn replace(
    vector: Vector,
    [target, replacement, source, pattern]: [&str; 4],
    context: &CallContext<'_>,
) -> Result<Vector, EvalError> {
    let Ok(regex) = anchored_regex(pattern) else {
        return Err(EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}")));
    };
    check_name(target, "destination", "label_replace")?;
    let template = Template::new(replacement, &regex);
    let mut captures = regex.create_captures();
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    Ok(context.relabelled(vector, |labels| {
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
    }))
}

/// Sets `target` to the values of `sources` with `separator` between them.
pub(super) fn join(
    vector: Vector,
    target: &str,
    separator: &str,
    sources: &[Arc<str>],
    context: &CallContext<'_>,
) -> Result<Vector, EvalError> {
    for source in sources {
        check_name(source, "source", "label_join")?;
    }
    check_name(target, "destination", "label_join")?;
    Ok(context.relabelled(vector, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
        LabelsBuilder::from_labels(labels).set(target, &values.join(separator)).build()
    }))
}

/// Any text but none is a name.
fn check_name(name: &str, role: &str, function: &str) -> Result<(), EvalError> {
    match name.is_empty() {
        true => Err(EvalError::Execution(format!("invalid {role} label name in {function}(): {name}"))),
        false => Ok(()),
    }
}

impl CallContext<'_> {
    fn relabelled(&self, vector: Vector, relabel: impl FnMut(&Labels) -> Labels) -> Vector {
        Vector { rows: self.plan.relabelled(self.node, &vector.rows, relabel), cells: vector.cells }
    }
}

/// Whether a row has a sample at some step.
pub(super) fn is_live(vector: &Vector, row: usize) -> bool {
    let steps = vector.cells.floats.len() / vector.rows.len();
    vector.cells.floats[row * steps..][..steps].iter().any(|cell| cell.to_bits() != ABSENT)
}
