//! A request that is sent again with its key tells the truth, for as long as the row of its registration is there.

use super::{Drift, Life, Violation, violation};
use crate::clients::{Answer, Call};

/// How long after a registration has ended its row is certain to be there: less than the fleet's retention.
const KEPT_MS: i64 = 10_000;

/// Whether a request was refused although it has succeeded before, and the row is still its own.
pub(super) fn check_refused(call: &Call, lives: &[Life<'_>], Drift(grain_ms): Drift) -> Option<Violation> {
    let refused = matches!(&call.answer, Answer::Problem { code, .. } if code == "name_taken");
    if call.attempt == 1 || !refused {
        return None;
    }
    let (begin_ms, end_ms) = (call.begin_us / 1000 - grain_ms, call.end_us / 1000 + grain_ms);
    let own = lives.iter().position(|life| life.first.owner == call.owner)?;
    let replaced_ms = lives.get(own + 1).map_or(i64::MAX, |next| next.first.created_ms);
    let life = &lives[own];
    let kept_ms = life.end_ms.saturating_add(KEPT_MS);
    let is_its_own = life.first.created_ms < begin_ms && end_ms < replaced_ms.min(kept_ms);
    is_its_own.then(|| violation("retry", format!("{call:?} although it has {:?}", life.first)))
}

/// Whether somebody has registered a second time while the row of the first time was there.
pub(super) fn check_once(lives: &[Life<'_>]) -> impl Iterator<Item = Violation> {
    lives.windows(2).filter_map(|pair| {
        let (one, other) = (&pair[0], &pair[1]);
        let is_kept = other.first.created_ms < one.end_ms.saturating_add(KEPT_MS);
        (one.first.owner == other.first.owner && is_kept)
            .then(|| violation("twice", format!("{:?} after {:?}", other.first, one.first)))
    })
}
