//! What the store keeps of the past: what the rules look back at, and what the configuration adds.

use std::time::Duration;

use crate::config::{GatewayConfig, HistoryConfig, HistorySeries};
use crate::http::selectors::parse_selector;
use crate::promql::needs;
use crate::rules::manager::LoadedRules;
use crate::store::{Keep, Store};

/// What the configuration names; an error where a selector is none.
pub(super) fn configured(config: &HistoryConfig) -> Result<Vec<Keep>, String> {
    let keep = |one: &HistorySeries, is_of_recorded: bool| {
        let matchers = parse_selector(&one.selector)
            .map_err(|fault| format!("a selector of history, {:?}: {fault}", one.selector))?;
        Ok(Keep { matchers, duration: one.duration, is_of_recorded })
    };
    let series = config.series.iter().map(|one| keep(one, false));
    series.chain(config.recorded.iter().map(|one| keep(one, true))).collect()
}

/// Tells the store.
pub(super) fn keep(store: &Store, config: &GatewayConfig, configured: Vec<Keep>, rules: &LoadedRules) {
    store.set_history_max(usize::try_from(config.history.memory_max.0).unwrap_or(usize::MAX));
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let lookback = millis(config.query.lookback_delta);
    let needed = rules.expressions().flat_map(|(expr, delay)| needs(expr, millis(delay), lookback));
    store.keep(configured.into_iter().chain(needed).collect());
}
