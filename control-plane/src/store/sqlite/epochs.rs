//! Names of the file's history. A copy of the file that was put back goes on with the same revisions for other changes: each opening gives
//! what comes then a name of its own, and a revision is one only together with the name that it was told with.

use rusqlite::{Connection, params};

use crate::store::{Revision, number, stored};

/// Names that are remembered.
const KEPT: i64 = 256;

/// Beside the tables of the layout: a release that does not know it leaves it alone.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS epoch (place INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, began INTEGER NOT NULL);
    INSERT INTO epoch (name, began) SELECT id, 0 FROM state WHERE NOT EXISTS (SELECT 1 FROM epoch);
";

/// The names of the history up to now.
#[derive(Debug)]
pub struct Epochs {
    /// Of what comes from now on.
    pub name: String,
    /// Of what came before, each with its last revision.
    pub before: Vec<(String, Revision)>,
}

impl Epochs {
    /// Begins one at `revision`. What cannot be written, on a full disk, is not known at the next start: then agents are told everything.
    pub fn begin(connection: &mut Connection, revision: Revision) -> Self {
        let name = format!("{:032x}", rand::random::<u128>());
        let before = write(connection, &name, revision).unwrap_or_default();
        Self { name, before }
    }
}

/// Gives the names before it.
fn write(
    connection: &mut Connection,
    name: &str,
    revision: Revision,
) -> rusqlite::Result<Vec<(String, Revision)>> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLE)?;
    transaction.execute(
        "INSERT INTO epoch (name, began) VALUES (?1, ?2)",
        params![name, stored(revision)],
    )?;
    transaction.execute(
        "DELETE FROM epoch WHERE place <= (SELECT max(place) FROM epoch) - ?1",
        [KEPT],
    )?;
    // Each lasts until the next one begins.
    let before = transaction
        .prepare("SELECT name, lead(began) OVER (ORDER BY place) FROM epoch ORDER BY place")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?
        .filter_map(|row| {
            row.map(|(name, last)| Some((name, number(last?))))
                .transpose()
        })
        .collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(before)
}
