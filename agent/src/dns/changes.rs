//! What differs between two catalogs, in one walk over both. Facts that they share are known to be the same without looking into them.

use std::cmp::Ordering;
use std::iter::Peekable;

use api::agent::ContainerFact;

use super::claims::Place;
use crate::Catalog;

/// A container before and after.
pub type Change<'a> = (Option<&'a ContainerFact>, Option<&'a ContainerFact>);

/// Containers that mean something else in `new` than in `old`.
#[must_use]
pub fn between<'a>(old: &'a Catalog, new: &'a Catalog) -> Vec<Change<'a>> {
    let is_changed = |(before, after): &Change<'a>| match (before, after) {
        (Some(before), Some(after)) => {
            let is_same = std::ptr::eq(*before, *after) || before == after;
            !is_same || Place::of(before, old) != Place::of(after, new)
        }
        _ => true,
    };
    let pairs = Pairs {
        old: old.containers.values().peekable(),
        new: new.containers.values().peekable(),
    };
    pairs.filter(is_changed).collect()
}

/// Both of each id, in the order of the ids.
struct Pairs<A: Iterator, B: Iterator> {
    old: Peekable<A>,
    new: Peekable<B>,
}

impl<'a, A, B> Iterator for Pairs<A, B>
where
    A: Iterator<Item = &'a ContainerFact>,
    B: Iterator<Item = &'a ContainerFact>,
{
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let order = match (self.old.peek(), self.new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) if std::ptr::eq(*old, *new) => Ordering::Equal,
            (Some(old), Some(new)) => old.id.cmp(&new.id),
        };
        Some(match order {
            Ordering::Less => (self.old.next(), None),
            Ordering::Greater => (None, self.new.next()),
            Ordering::Equal => (self.old.next(), self.new.next()),
        })
    }
}
