//! Events are kept for a while, and not without bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::event::EventKind;
use jiff::Timestamp;

use crate::objects::{self, now};
use crate::server::Server;
use crate::store::Write;

/// How long an event is kept.
const AGE: Duration = Duration::from_secs(30 * 86_400);
/// How many are kept of each project at most: one that makes many does not wash away what was done in another.
const COUNT: usize = 20_000;
/// How often it looks.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs while this server leads.
pub async fn run(server: Arc<Server>) {
    loop {
        let all = server
            .mirror
            .list(&objects::folder::<EventKind>(None), None, usize::MAX);
        let dated = all.iter().filter_map(|entry| {
            let event = objects::decode::<EventKind>(entry).ok()?;
            Some((event.meta.created, entry.key.clone()))
        });
        let surplus = surplus(dated.collect(), now(), COUNT).into_iter();
        // What fails is tried again in a minute.
        let removals = surplus.map(Write::delete).collect();
        server.objects.store().write_all(removals).await.ok();
        tokio::time::sleep(PERIOD).await;
    }
}

/// Keys of the events that are too old, or too many: the oldest first.
fn surplus(mut events: Vec<(Timestamp, String)>, now: Timestamp, count: usize) -> Vec<String> {
    let is_old =
        |created: Timestamp| now.duration_since(created).unsigned_abs() > AGE && created < now;
    let folder = |key: &str| key.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let mut kept: BTreeMap<Option<String>, usize> = BTreeMap::new();
    // The youngest first.
    events.sort_by(|one, other| other.cmp(one));
    let mut surplus: Vec<String> = events
        .into_iter()
        .filter(|(created, key)| {
            let kept = kept.entry(folder(key)).or_default();
            *kept += 1;
            *kept > count || is_old(*created)
        })
        .map(|(_, key)| key)
        .collect();
    surplus.reverse();
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_and_the_surplus_go() {
        let day = |n: u64| Timestamp::UNIX_EPOCH + Duration::from_secs(n * 86_400);
        let events = |days: &[u64]| days.iter().map(|n| (day(*n), format!("/{n}"))).collect();
        assert_eq!(
            surplus(events(&[50, 69, 71, 99]), day(100), 9),
            ["/50", "/69"]
        );
        assert_eq!(surplus(events(&[99, 97, 98]), day(100), 2), ["/97"]);
        // A clock that was ahead loses nothing.
        assert_eq!(surplus(events(&[200]), day(100), 2), [""; 0]);
        // One project's many leave another's few.
        let keys = ["/p/1", "/q/2", "/p/3", "/p/4"];
        let of_two = keys
            .iter()
            .zip(90..)
            .map(|(key, n)| (day(n), (*key).to_owned()));
        assert_eq!(surplus(of_two.collect(), day(100), 2), ["/p/1"]);
    }
}
