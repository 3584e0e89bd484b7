//! The schema's history, compiled in: each file of `migrations/` once.
//!
//! A list instead of sqlx's macro, which would have cargo compile sqlx, rustls and tokio a second time to run it.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../migrations/", $name)))),*]
    };
}

/// Oldest first: the number is the version, the rest of the name what it is about.
const FILES: [(&str, &str); 1] = files!["0001_store.sql"];

pub fn all() -> Migrator {
    let migrations = FILES.iter().filter_map(|(name, text)| {
        let (version, about) = name.strip_suffix(".sql")?.split_once('_')?;
        let about = Cow::Owned(about.replace('_', " "));
        Some(Migration::new(version.parse().ok()?, about, MigrationType::Simple, text.into_sql_str(), false))
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_forgotten() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
        let mut found: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, FILES.map(|(name, _)| name));
        let versions: Vec<_> = all().iter().map(|migration| migration.version).collect();
        assert_eq!(versions.len(), FILES.len());
        assert!(versions.is_sorted());
    }
}
