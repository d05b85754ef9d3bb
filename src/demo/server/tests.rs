//! The roles on this machine's loopback.

use super::*;

fn silent() -> Say {
    Arc::new(|_| {})
}

fn variables(values: &'static [(&'static str, &'static str)], database: String) -> Variables {
    Arc::new(move |name| {
        let found = values
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned());
        found.or_else(|| (name == "DATABASE").then(|| database.clone()))
    })
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn until<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(10), asked).await;
    found.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A running database, and what ends it.
async fn database(
    folder: &std::path::Path,
) -> (
    String,
    CancellationToken,
    tokio::task::JoinSet<Result<(), ServerError>>,
) {
    let (port, stop) = (free_port().await, CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    let (folder, token) = (folder.to_owned(), stop.clone());
    tasks.spawn(async move { database::serve(port, &folder, silent(), token).await });
    let address = format!("127.0.0.1:{port}");
    until("the database answers", async || {
        check::once(&format!("tcp://{address}")).await.ok()
    })
    .await;
    (address, stop, tasks)
}

#[test]
fn the_role_is_read_from_the_arguments() {
    let of = |text: &str| Role::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(of("web").unwrap(), Role::Web);
    assert_eq!(
        of("job catalogue /out/x").unwrap(),
        Role::Catalogue("/out/x".into())
    );
    assert!(of("web please").is_err());
    assert!(Role::parse(&[]).is_err());
}

#[test]
fn a_service_of_kubernetes_is_found_by_its_variable() {
    let known: Variables = Arc::new(|name| match name {
        "SHOP_DB_SERVICE_HOST" => Some("10.96.0.7".to_owned()),
        "SIX_SERVICE_HOST" => Some("fd00::7".to_owned()),
        _ => None,
    });
    assert_eq!(address::of("shop-db:5432", &known), "10.96.0.7:5432");
    assert_eq!(address::of("six:80", &known), "[fd00::7]:80");
    assert_eq!(address::of("app:8080", &known), "app:8080");
    assert_eq!(
        address::of_url("http://shop-db:80/x?y", &known),
        "http://10.96.0.7:80/x?y"
    );
    assert_eq!(
        address::of_url("tcp://127.0.0.1:5432", &known),
        "tcp://127.0.0.1:5432"
    );
}

#[test]
fn the_proxy_reads_its_configuration() {
    assert_eq!(
        http::configuration("# x\nlisten 80 # y\nupstream app:1\n").unwrap(),
        (80, "app:1".to_owned())
    );
    assert!(http::configuration("listen 80\n").is_err());
    assert!(
        http::configuration("lisen 80\nupstream a:1")
            .unwrap_err()
            .contains("lisen 80")
    );
}

#[tokio::test]
async fn what_the_database_answered_survives_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (address, stop, mut tasks) = database(folder.path()).await;
    assert_eq!(super::database::ask(&address, "GET a").await.unwrap(), "NONE");
    assert_eq!(super::database::ask(&address, "SET a b c").await.unwrap(), "OK");
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    let (address, _stop, _tasks) = database(folder.path()).await;
    assert_eq!(super::database::ask(&address, "GET a").await.unwrap(), "b c");
}

#[tokio::test]
async fn the_shop_is_healthy_only_with_its_schema_and_its_variables() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop, _tasks) = database(folder.path()).await;
    let good = variables(
        &[("SHOP_VERSION", "1.8.2"), ("SHOP_NAME", "Shop")],
        address.clone(),
    );
    let broken = variables(
        &[("SHOP_VERSION", "1.9.0"), ("SHOP_REQUIRES", "SHOP_CURRENCY")],
        address.clone(),
    );
    let mended = variables(
        &[("SHOP_REQUIRES", "SHOP_CURRENCY"), ("SHOP_CURRENCY", "EUR")],
        address,
    );
    let mut tasks = tokio::task::JoinSet::new();
    let mut ports = Vec::new();
    for values in [good.clone(), broken, mended] {
        let port = free_port().await;
        tasks.spawn(shop::web(port, values, silent(), CancellationToken::new()));
        ports.push(format!("http://127.0.0.1:{port}"));
    }
    let health = async |at: &str| {
        until("an answer", async || {
            check::get(&format!("{at}/healthz")).await.ok()
        })
        .await
    };
    assert_eq!(health(&ports[0]).await.0, 503, "without its schema");
    shop::migrate(&good, &silent()).await.unwrap();
    shop::migrate(&good, &silent()).await.unwrap();
    assert_eq!(health(&ports[0]).await, (200, "ok\n".to_owned()));
    let (status, why) = health(&ports[1]).await;
    assert_eq!((status, why.contains("SHOP_CURRENCY is not set")), (503, true));
    assert_eq!(health(&ports[2]).await.0, 200);
    assert_eq!(
        check::get(&format!("{}/", ports[0])).await.unwrap().1,
        "Shop 1.8.2: 3 products\n"
    );
}

#[tokio::test]
async fn a_stop_cuts_no_accepted_request_through_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let (app, front) = (free_port().await, free_port().await);
    let conf = folder.path().join("proxy.conf");
    std::fs::write(&conf, format!("listen {front}\nupstream localhost:{app}\n")).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(shop::web(
        app,
        variables(&[], String::new()),
        silent(),
        stop.clone(),
    ));
    let (file, token) = (conf.clone(), CancellationToken::new());
    let mut proxy = tokio::task::JoinSet::new();
    let none = variables(&[], String::new());
    proxy.spawn(async move { http::proxy(&file, &none, silent(), token).await });
    until("the shop answers through the proxy", async || {
        check::get(&format!("http://127.0.0.1:{front}/slow"))
            .await
            .ok()
            .filter(|answer| answer.0 == 200)
    })
    .await;
    let url = format!("http://127.0.0.1:{front}/slow");
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let url = url.clone();
        asked.spawn(async move { check::get(&url).await });
    }
    // Each takes a second from when it was accepted: the stop falls into all of them.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    stop.cancel();
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), (200, "here you are\n".to_owned()));
    }
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        check::get(&url).await.unwrap().0,
        502,
        "the shop is gone and the proxy says so"
    );
}
