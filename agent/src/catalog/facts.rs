//! Facts by id, in a map whose copies share what they have in common: a change of one container among fifty thousand is not a copy of all.

use std::fmt;
use std::sync::Arc;

use api::Id;
use rpds::RedBlackTreeMapSync;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Facts by id, in order of the ids.
#[derive(Clone)]
pub struct Facts<T>(RedBlackTreeMapSync<Id, Arc<T>>);

impl<T> Facts<T> {
    /// One of them.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&T> {
        self.0.get(id).map(|fact| &**fact)
    }

    /// Puts one in, or in the place of another.
    pub fn insert(&mut self, id: Id, fact: T) {
        self.0.insert_mut(id, Arc::new(fact));
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &Id) {
        self.0.remove_mut(id);
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|fact| &**fact)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Facts<T> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<T: PartialEq> PartialEq for Facts<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Eq> Eq for Facts<T> {}

impl<T: fmt::Debug> fmt::Debug for Facts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

impl<T> FromIterator<(Id, T)> for Facts<T> {
    fn from_iter<I: IntoIterator<Item = (Id, T)>>(facts: I) -> Self {
        let mut all = Self::default();
        for (id, fact) in facts {
            all.insert(id, fact);
        }
        all
    }
}

impl<T, const N: usize> From<[(Id, T); N]> for Facts<T> {
    fn from(facts: [(Id, T); N]) -> Self {
        facts.into_iter().collect()
    }
}

impl<T: Serialize> Serialize for Facts<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (id, fact) in self.0.iter() {
            map.serialize_entry(id, &**fact)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Facts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Facts<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("facts by id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts<T>, A::Error> {
                let mut all = Facts::default();
                while let Some((id, fact)) = map.next_entry()? {
                    all.insert(id, fact);
                }
                Ok(all)
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
