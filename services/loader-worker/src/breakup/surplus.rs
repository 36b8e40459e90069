//! What an earlier version of an object was written as, and its present one is not: it would be loaded as well.
//!
//! Removed once the present version is durable, and before that is recorded. Died in between: the next lease removes
//! what is left. It is taken for the object's only when the ledger knows earlier versions of the object, the name is one
//! that they give, and the source has no object that is written under it.

use futures::future::try_join_all;
use stoker_proto::ledger::v1::ObjectVersion;
use stoker_shared::object_store::{ObjectStore, Place, StoreError};

use super::names_of_parts::{PartNames, digits};

/// Of the numbers of parts.
const MOST_DIGITS: usize = 6;

/// See the [module](self).
pub(super) struct Surplus<'s> {
    pub(super) names: &'s PartNames,
    pub(super) object: &'s ObjectVersion,
    pub(super) source: &'s dyn ObjectStore,
    pub(super) place: &'s Place,
    /// Parts of one Bundle that are written at a time: when that was broken off, so many may be missing in a row.
    pub(super) gap: usize,
}

impl Surplus<'_> {
    /// Removes what is not one of the `parts` that were written now; none when the object is written as it is.
    pub(super) async fn remove(&self, parts: Option<usize>) -> Result<(), StoreError> {
        if self.object.version < 2 {
            return Ok(());
        }
        let mut surplus = Vec::new();
        let as_it_is = self.names.unbroken();
        if parts.is_some() && self.is_there(&as_it_is).await? {
            surplus.push(as_it_is);
        }
        for width in digits(0)..=MOST_DIGITS {
            let written = parts.filter(|parts| digits(*parts) == width);
            surplus.extend(self.parts_from(written.unwrap_or(0), width).await?);
        }
        // The last first: who goes on after a crash finds the others in a row.
        for name in surplus.into_iter().rev() {
            if !self.is_of_another(&name).await? {
                self.place.store().remove(&self.place.key(&name)).await?;
            }
        }
        Ok(())
    }

    /// Parts that are there, from one on.
    async fn parts_from(&self, first: usize, width: usize) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for start in (first..).step_by(self.gap) {
            let names = (start..start + self.gap).map(|part| self.names.numbered(part, width));
            let looks = names.map(|name| async {
                let there = self.is_there(&name).await?;
                Ok::<_, StoreError>(there.then_some(name))
            });
            let some: Vec<String> = try_join_all(looks).await?.into_iter().flatten().collect();
            if some.is_empty() {
                break;
            }
            found.extend(some);
        }
        Ok(found)
    }

    async fn is_there(&self, name: &str) -> Result<bool, StoreError> {
        exists(self.place.store(), &self.place.key(name)).await
    }

    /// Whether the source has another object that is written under the name.
    async fn is_of_another(&self, name: &str) -> Result<bool, StoreError> {
        match self.names.before(&self.object.key) {
            _ if self.names.is_own(name) => Ok(false),
            Some(before) => exists(self.source, &format!("{before}{name}")).await,
            None => Ok(true),
        }
    }
}

async fn exists(store: &dyn ObjectStore, key: &str) -> Result<bool, StoreError> {
    match store.head(key).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}
