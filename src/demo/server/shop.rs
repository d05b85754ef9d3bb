//! The shop: its web server, its migration, its catalogue job.
//!
//! In: `SHOP_VERSION` and `SHOP_REQUIRES` (from the image), `DATABASE`, `SHOP_NAME`, `SHOP_CURRENCY` (from the repository).
//! Out: pages, a health answer that gives the reason, rows. Guaranteed: `/healthz` is 200 only if a customer would be
//! served. Must not: exit for a reason that may pass.

use std::path::Path;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::{Request, StatusCode};
use tokio_util::sync::CancellationToken;

use super::http::{self, Answer, text};
use super::{Say, ServerError, Variables, database};

/// The schema that every version of the demo needs.
const SCHEMA: &str = "7";

const PRODUCTS: &[(&str, &str)] = &[
    ("product/1", "tea 4.20"),
    ("product/2", "bread 3.10"),
    ("product/3", "lamp 25.00"),
];

/// How long the database may take before the shop calls itself unhealthy.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the migration asks for a database that does not answer.
const RETRIES: u32 = 10;

async fn ask(variables: &Variables, line: &str) -> Result<String, String> {
    let address = variables("DATABASE").ok_or("DATABASE is not set")?;
    let at = super::address::of(&address, variables);
    match tokio::time::timeout(PATIENCE, database::ask(&at, line)).await {
        Ok(answer) => answer.map_err(|error| format!("database {address}: {error}")),
        Err(_) => Err(format!("database {address}: no answer")),
    }
}

/// What a version can't work without and was not given.
fn missing(variables: &Variables) -> Option<String> {
    let required = variables("SHOP_REQUIRES").unwrap_or_default();
    let missing = required
        .split_whitespace()
        .find(|name| variables(name).is_none_or(|value| value.is_empty()))?;
    let version = variables("SHOP_VERSION").unwrap_or_default();
    Some(format!(
        "{missing} is not set, and {version} shows no price without it"
    ))
}

/// Serves the shop.
pub(super) async fn web(
    port: u16,
    variables: Variables,
    say: Say,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    say(&format!(
        "shop {} starting",
        variables("SHOP_VERSION").unwrap_or_default()
    ));
    if let Some(why) = missing(&variables) {
        // It goes on and answers 503: a crash would tell the same, more slowly.
        say(&format!("FATAL: {why}"));
    }
    let handle = move |request: Request<Incoming>| {
        let variables = variables.clone();
        async move { page(request.uri().path(), &variables).await }
    };
    http::serve(port, handle, &say, &stop).await
}

async fn page(path: &str, variables: &Variables) -> Answer {
    let answered = match path {
        "/" => front(variables).await,
        "/healthz" => health(variables).await.map(|()| "ok\n".to_owned()),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok("here you are\n".to_owned())
        }
        _ => return text(StatusCode::NOT_FOUND, "no such page\n"),
    };
    answered.map_or_else(
        |why| text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        |body| text(StatusCode::OK, body),
    )
}

async fn health(variables: &Variables) -> Result<(), String> {
    if let Some(why) = missing(variables) {
        return Err(why);
    }
    let schema = ask(variables, "GET schema").await?;
    if schema == SCHEMA {
        Ok(())
    } else {
        Err(format!("the database has schema {schema}, {SCHEMA} is needed"))
    }
}

async fn front(variables: &Variables) -> Result<String, String> {
    if let Some(why) = missing(variables) {
        return Err(why);
    }
    let products = ask(variables, "COUNT product/").await?;
    let or = |name: &str, other: &str| {
        variables(name)
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| other.to_owned())
    };
    let currency = variables("SHOP_CURRENCY")
        .map(|currency| format!(", prices in {currency}"))
        .unwrap_or_default();
    let (name, version) = (or("SHOP_NAME", "the shop"), or("SHOP_VERSION", "unknown"));
    Ok(format!("{name} {version}: {products} products{currency}\n"))
}

/// Brings the database to [`SCHEMA`].
pub(super) async fn migrate(variables: &Variables, say: &Say) -> Result<(), ServerError> {
    let set = async |key: &str, value: &str| {
        ask(variables, &format!("SET {key} {value}"))
            .await
            .map_err(ServerError::Unhealthy)
    };
    // A new database may be ready before every node knows the way to it.
    let mut before = ask(variables, "GET schema").await;
    for _ in 0..RETRIES {
        if before.is_ok() {
            break;
        }
        tokio::time::sleep(PATIENCE / 2).await;
        before = ask(variables, "GET schema").await;
    }
    let before = before.map_err(ServerError::Unhealthy)?;
    if before == SCHEMA {
        say(&format!("schema {SCHEMA}: nothing to do"));
        return Ok(());
    }
    for (key, value) in PRODUCTS {
        set(key, value).await?;
    }
    set("schema", SCHEMA).await?;
    say(&format!(
        "schema {} -> {SCHEMA}, {} products",
        before.to_lowercase(),
        PRODUCTS.len()
    ));
    Ok(())
}

/// Writes the catalogue.
pub(super) fn catalogue(file: &Path, variables: &Variables, say: &Say) -> Result<(), ServerError> {
    let season = variables("SEASON").unwrap_or_else(|| "this".to_owned());
    let lines: String = PRODUCTS
        .iter()
        .map(|(_, product)| format!("{season}: {product}\n"))
        .collect();
    std::fs::write(file, lines).map_err(ServerError::io(format!("write {}", file.display())))?;
    say(&format!(
        "{} products for {season} written to {}",
        PRODUCTS.len(),
        file.display()
    ));
    Ok(())
}
