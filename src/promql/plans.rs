//! Plans of queries that are asked again and again, as a dashboard does.
//!
//! Invariant: an answer does not depend on whether its plan was there. A plan belongs to one evaluation at a time: the same query, asked
//! meanwhile, is evaluated with a plan that is thrown away, so nobody waits for anybody.
//!
//! At most [`QUERIES_MAX`] queries are known, and their plans have at most [`ROWS_MAX`] keys and rows of their own together, each of some
//! 200 bytes. What was asked for the longest time ago goes first; a plan that is bigger than all may be goes at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, TryLockError};

use super::ast::Expr;
use super::parse::{ParseError, ParseOptions, parse};
use super::plan::{Plan, lock};

/// Queries that are known.
const QUERIES_MAX: usize = 256;
/// Keys and rows of all plans.
const ROWS_MAX: usize = 1 << 19;

/// Queries by their text.
#[derive(Debug, Default)]
pub struct Plans {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_text: HashMap<(String, ParseOptions), Entry>,
    /// Counts the questions: the age of a query.
    asked: u64,
    /// Of all entries.
    rows: usize,
}

#[derive(Debug)]
struct Entry {
    query: Arc<PlannedQuery>,
    asked: u64,
    rows: usize,
}

/// A query with what is kept of it.
#[derive(Debug)]
pub struct PlannedQuery {
    /// Its expression.
    pub expr: Expr,
    plan: Mutex<Plan>,
}

impl Plans {
    /// The query of this text. Errors where that is no expression.
    pub fn query(&self, text: &str, options: &ParseOptions) -> Result<Arc<PlannedQuery>, ParseError> {
        let key = (text.to_owned(), *options);
        if let Some(query) = lock(&self.known).find(&key) {
            return Ok(query);
        }
        let query = Arc::new(PlannedQuery { expr: parse(text, options)?, plan: Mutex::default() });
        lock(&self.known).insert(key, query.clone());
        Ok(query)
    }

    /// Evaluates a query with its plan, or with a passing one where that is in use.
    pub fn with_plan<T>(&self, query: &Arc<PlannedQuery>, evaluate: impl FnOnce(&Plan) -> T) -> T {
        let (done, rows) = match query.plan.try_lock() {
            Ok(plan) => (evaluate(&plan), plan.rows()),
            // A panic elsewhere leaves a plan at worst without what it could have had.
            Err(TryLockError::Poisoned(plan)) => (evaluate(plan.get_ref()), plan.get_ref().rows()),
            Err(TryLockError::WouldBlock) => return evaluate(&Plan::passing()),
        };
        lock(&self.known).note_rows(query, rows);
        done
    }
}

impl Known {
    fn find(&mut self, key: &(String, ParseOptions)) -> Option<Arc<PlannedQuery>> {
        self.asked += 1;
        let entry = self.by_text.get_mut(key)?;
        entry.asked = self.asked;
        Some(entry.query.clone())
    }

    fn insert(&mut self, key: (String, ParseOptions), query: Arc<PlannedQuery>) {
        if let Some(replaced) = self.by_text.insert(key, Entry { query, asked: self.asked, rows: 0 }) {
            self.rows -= replaced.rows;
        }
        self.forget_oldest();
    }

    fn note_rows(&mut self, query: &Arc<PlannedQuery>, rows: usize) {
        let Some(entry) = self.by_text.values_mut().find(|entry| Arc::ptr_eq(&entry.query, query)) else { return };
        self.rows = self.rows - entry.rows + rows;
        entry.rows = rows;
        if rows > ROWS_MAX {
            // To make room for it all others would have to go, and it would still not fit.
            entry.asked = 0;
        }
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.by_text.len() > QUERIES_MAX || self.rows > ROWS_MAX {
            let oldest = self.by_text.iter().min_by_key(|(_, entry)| entry.asked).map(|(key, _)| key.clone());
            let Some(entry) = oldest.and_then(|key| self.by_text.remove(&key)) else { return };
            self.rows -= entry.rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: ParseOptions = ParseOptions { experimental: false };

    fn texts(plans: &Plans) -> Vec<String> {
        let mut texts: Vec<String> = lock(&plans.known).by_text.keys().map(|(text, _)| text.clone()).collect();
        texts.sort();
        texts
    }

    #[test]
    fn the_same_text_is_the_same_query_for_the_same_options() {
        let plans = Plans::default();
        let query = |text: &str, experimental| plans.query(text, &ParseOptions { experimental }).unwrap();
        assert!(Arc::ptr_eq(&query("x", false), &query("x", false)));
        assert!(!Arc::ptr_eq(&query("x", false), &query("x", true)));
        assert!(plans.query("x +", &OPTIONS).is_err());
        assert_eq!(texts(&plans), ["x", "x"], "what is no expression is not remembered");
    }

    #[test]
    fn a_plan_in_use_is_not_waited_for() {
        let plans = Plans::default();
        let query = plans.query("x", &OPTIONS).unwrap();
        let of = |plan: &Plan| std::ptr::from_ref(plan).addr();
        let (outer, inner) = plans.with_plan(&query, |plan| (of(plan), plans.with_plan(&query, of)));
        assert_ne!(outer, inner);
        assert_eq!(plans.with_plan(&query, of), outer);
    }

    #[test]
    fn what_is_too_much_goes_the_oldest_first() {
        let plans = Plans::default();
        let query = |text: &str| plans.query(text, &OPTIONS).unwrap();
        let size = |text: &str, rows: usize| {
            let query = query(text);
            lock(&plans.known).note_rows(&query, rows);
        };
        size("a", ROWS_MAX / 2);
        size("b", ROWS_MAX / 2);
        query("a");
        size("c", 1);
        assert_eq!(texts(&plans), ["a", "c"]);
        size("d", ROWS_MAX + 1);
        assert_eq!(texts(&plans), ["a", "c"], "what is bigger than all may be goes alone");
        (0..QUERIES_MAX - 1).for_each(|number| drop(query(&format!("{number}"))));
        let known = lock(&plans.known);
        assert_eq!((known.by_text.len(), known.rows), (QUERIES_MAX, 1));
    }
}
