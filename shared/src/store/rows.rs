//! Many rows for one statement: PostgreSQL takes an array for each column, and so one text for any
//! number of rows, which it need read only once; SQLite takes a list of values.

use std::borrow::Cow;

use chrono::NaiveDateTime;
use sqlx::{Postgres, QueryBuilder, Sqlite};

/// A column of some rows.
#[derive(Debug)]
pub enum Column<'v> {
    /// Numbers.
    Ints(Vec<i64>),
    /// Numbers, or NULL.
    MaybeInts(Vec<Option<i64>>),
    /// Texts.
    Texts(Vec<Cow<'v, str>>),
    /// Texts, or NULL.
    MaybeTexts(Vec<Option<&'v str>>),
    /// Bytes as they are.
    Bytes(Vec<&'v [u8]>),
    /// Times, in UTC.
    Times(Vec<NaiveDateTime>),
    /// True or false.
    Flags(Vec<bool>),
}

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::MaybeInts(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::MaybeTexts(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Times(values) => values.len(),
            Self::Flags(values) => values.len(),
        }
    }
}

/// A column of numbers.
pub fn ints<'v>(values: impl IntoIterator<Item = i64>) -> Column<'v> {
    Column::Ints(values.into_iter().collect())
}

/// A column of texts.
pub fn texts<'v, T: Into<Cow<'v, str>>>(values: impl IntoIterator<Item = T>) -> Column<'v> {
    Column::Texts(values.into_iter().map(Into::into).collect())
}

/// Begins a statement that finds the rows under the name `r`, with columns of these names.
pub fn arrays(names: &str, columns: &[Column<'_>]) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(format!("WITH r ({names}) AS (SELECT * FROM UNNEST("));
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            sql.push(", ");
        }
        match column {
            Column::Ints(values) => sql.push_bind(values),
            Column::MaybeInts(values) => sql.push_bind(values),
            Column::Texts(values) => sql.push_bind(values),
            Column::MaybeTexts(values) => sql.push_bind(values),
            Column::Bytes(values) => sql.push_bind(values),
            Column::Times(values) => sql.push_bind(values),
            Column::Flags(values) => sql.push_bind(values),
        };
    }
    sql.push(")) ");
    sql
}

/// The same. SQLite takes 32 766 values in one statement.
pub fn values(names: &str, columns: &[Column<'_>]) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(format!("WITH r ({names}) AS ("));
    let rows = columns.iter().map(Column::len).min().unwrap_or(0);
    if rows == 0 {
        let nulls = vec!["NULL"; columns.len()].join(", ");
        sql.push(format!("SELECT {nulls} WHERE FALSE) "));
        return sql;
    }
    sql.push_values(0..rows, |mut row, n| {
        for column in columns {
            match column {
                Column::Ints(values) => row.push_bind(values.get(n).copied()),
                Column::MaybeInts(values) => row.push_bind(values.get(n).copied().flatten()),
                Column::Texts(values) => row.push_bind(values.get(n).map(|text| &**text)),
                Column::MaybeTexts(values) => row.push_bind(values.get(n).copied().flatten()),
                Column::Bytes(values) => row.push_bind(values.get(n).copied()),
                Column::Times(values) => row.push_bind(values.get(n).copied()),
                Column::Flags(values) => row.push_bind(values.get(n).copied()),
            };
        }
    });
    sql.push(") ");
    sql
}
