//! Opening and migrating the database.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions, Connection, Row, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteQueryResult, SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, MutexGuard};

use crate::StoreError;

/// Each entry brings a database from the version that is its place in the list to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// The version that this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<SqliteConnection>,
}

impl Store {
    /// Opens the database, makes it where there is none, and brings an older one up to date.
    ///
    /// # Errors
    /// One that cannot be opened, is damaged, or is of a newer program; nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        close_to_others(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .disable_statement_logging();
        let unusable = |error| unusable(path, error);
        let mut connection = options.connect().await.map_err(unusable)?;
        check(&mut connection, path).await?;
        migrate(&mut connection, path).await?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Closes the database in good order.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.into_inner().close().await?)
    }

    pub(crate) async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().await
    }
}

/// Runs statements that begin with `BEGIN` and end with `COMMIT`: all of them are done, or none. To be polled to its end.
///
/// Not by transactions of `sqlx`: where the disk is full SQLite takes back what was begun by itself, which the count of
/// those that are open does not learn, so that nothing would ever be committed any more.
pub(crate) async fn whole(
    connection: &mut SqliteConnection,
    statements: Query<'_, Sqlite, SqliteArguments>,
) -> sqlx::Result<SqliteQueryResult> {
    let done = statements.execute(&mut *connection).await;
    if done.is_err() {
        // An error here says that it was taken back already.
        let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    }
    done
}

/// Makes the file with mode 0600 before SQLite would make it with the umask's; its companions follow it.
fn close_to_others(path: &Path) -> Result<(), StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    file.and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .map_err(|source| StoreError::Open { path: path.to_path_buf(), source: source.into() })
}

/// Damage (or no database at all) is told from what the system did not permit.
fn unusable(path: &Path, error: sqlx::Error) -> StoreError {
    let path = PathBuf::from(path);
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
    match code.as_ref() {
        "11" | "26" | "267" | "523" => StoreError::Corrupt { path, detail: error.to_string() },
        _ => StoreError::Open { path, source: error.into() },
    }
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let result = sqlx::query("PRAGMA quick_check(1)").fetch_one(connection).await;
    let found: String = result.and_then(|row| row.try_get(0)).map_err(|error| unusable(path, error))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt { path: path.to_path_buf(), detail: found }) }
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let found: i64 = row.try_get(0)?;
    let done = match usize::try_from(found) {
        Ok(done) if done <= MIGRATIONS.len() => done,
        Ok(_) => return Err(StoreError::Newer { path: path.to_path_buf(), found, known: VERSION }),
        Err(_) => {
            let detail = format!("its version is {found}");
            return Err(StoreError::Corrupt { path: path.to_path_buf(), detail });
        }
    };
    for (migration, version) in MIGRATIONS.into_iter().zip(1_i64..).skip(done) {
        let mut transaction = connection.begin().await?;
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
        sqlx::raw_sql(set).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}
