//! The arranged catalog, shared by all requests and made anew when it has changed and somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::index::{Index, Version};
use crate::Catalog;
use crate::identity::Own;

/// An arranged catalog is good for at least so many times of what it took to make it: a project that is large and changes all the time costs
/// a tenth of a processor at most, a small one is always up to date.
const PACE: u32 = 9;

/// Makes and keeps the arranged catalog.
#[derive(Debug)]
pub struct Views {
    own: Own,
    catalog: watch::Receiver<Arc<Catalog>>,
    last: Mutex<Option<Made>>,
}

#[derive(Debug, Clone)]
struct Made {
    index: Arc<Index>,
    good_until: Instant,
}

impl Views {
    /// Of a catalog.
    #[must_use]
    pub fn new(own: Own, catalog: watch::Receiver<Arc<Catalog>>) -> Self {
        Self {
            own,
            catalog,
            last: Mutex::new(None),
        }
    }

    /// The catalog's changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }

    /// What is known now, arranged.
    #[must_use]
    pub fn now(&self) -> Arc<Index> {
        self.made().index
    }

    /// Returns when [`Views::now`] shows what is known now, or more.
    pub async fn caught_up(&self) {
        let made = self.made();
        let is_new = Arc::ptr_eq(&made.index.catalog, &self.catalog.borrow());
        if !is_new {
            tokio::time::sleep_until(made.good_until).await;
        }
    }

    fn made(&self) -> Made {
        // Whoever comes while it is made waits for it instead of making it, too.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = Arc::clone(&self.catalog.borrow());
        let begun = Instant::now();
        if let Some(made) = last.as_ref() {
            let is_good = Arc::ptr_eq(&made.index.catalog, &catalog) || begun < made.good_until;
            if is_good {
                return made.clone();
            }
        }
        let version = match last.as_ref() {
            Some(made) => made.index.version.next(&catalog),
            None => Version::first(&catalog),
        };
        let index = Arc::new(Index::new(catalog, self.own.clone(), version));
        let took: Duration = begun.elapsed();
        let made = Made {
            index,
            good_until: Instant::now() + took * PACE,
        };
        *last = Some(made.clone());
        made
    }
}
