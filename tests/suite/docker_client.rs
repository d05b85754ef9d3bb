//! The connection layer on real engines, with the recording proxy between.

use std::time::Duration;

use driftless::live::LiveError;
use driftless::live::docker::client::{CHANGE_DEADLINE, Client, path};
use driftless::live::docker::endpoint::{DiskFiles, DockerEnv, Endpoint, resolve};
use driftless::live::docker::info::API_NEWEST;
use serde_json::{Value, json};

use crate::support::engine::{Engine, Version};
use crate::support::proxy::{Fault, Proxy};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn connect(engine: &Engine) -> Client {
    Client::connect(&Endpoint::unix(engine.socket())).await.unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, LiveError>) -> String {
    result.unwrap_err().code().to_string()
}

fn by_name(name: &str) -> Value {
    json!({ "name": [name] })
}

on_engines! {
    fn the_negotiated_version_is_sent_with_every_call(engine) {
        let proxy = Proxy::start(&engine.socket());
        run(async {
            let env = DockerEnv { host: Some(proxy.docker_host()), ..DockerEnv::default() };
            let client = Client::connect(&resolve(None, &env, &DiskFiles).unwrap()).await.unwrap();
            let info = client.info();
            let expected = match engine.version() {
                Version::V20 => "20.10.",
                Version::V28 => "28.",
                Version::V29 => "29.",
            };
            assert!(info.version.starts_with(expected), "{info:?}");
            assert_eq!(client.api(), info.api_newest.min(API_NEWEST));
            assert!(!info.podman && !info.id.is_empty() && info.platform.starts_with("linux/"), "{info:?}");
            assert!(client.endpoint().is_local());
            proxy.clear();
            client.containers(&json!({})).await.unwrap();
            client.networks(&json!({})).await.unwrap();
            client.volumes(&json!({})).await.unwrap();
            client.call("ping", CHANGE_DEADLINE, client.docker().ping()).await.unwrap();
            let sent: Vec<_> = proxy.calls();
            assert_eq!(sent.len(), 4);
            for call in sent {
                assert_eq!(call.version.as_deref(), Some(client.api().to_string().as_str()), "{call:?}");
            }
            proxy.assert_read_only();
        });
    }

    fn a_change_is_sent_once_and_seen(engine) {
        run(async {
            let client = connect(engine).await;
            let name = engine.unique("client");
            let body = json!({ "Image": "base:1", "Cmd": ["sleep", "60"] });
            let create = |name: String| {
                let (client, body) = (client.clone(), body.clone());
                async move {
                    let query = [("name", name.as_str())];
                    client.send("create", hyper::Method::POST, "/containers/create", &query, Some(&body), CHANGE_DEADLINE).await
                }
            };
            let id = create(name.clone()).await.unwrap()["Id"].as_str().unwrap().to_owned();
            assert_eq!(code(create(name.clone()).await), "E0522");
            let start = path(&["containers", &id, "start"]);
            for _ in 0..2 {
                // The second answer is 304: it runs already.
                client.send("start", hyper::Method::POST, &start, &[], None, CHANGE_DEADLINE).await.unwrap();
            }
            let listed = client.containers(&by_name(&name)).await.unwrap();
            assert_eq!(listed[0]["State"], "running");
            let seen = client.inspect(&[id.as_str(), "no-such-container"]).await.unwrap();
            assert_eq!(seen[0].as_ref().unwrap()["Id"], id.as_str());
            assert!(seen[1].is_none());
            client.send("remove", hyper::Method::DELETE, &path(&["containers", &id]), &[("force", "1")], None, CHANGE_DEADLINE).await.unwrap();
            assert_eq!(code(client.send("start", hyper::Method::POST, &start, &[], None, CHANGE_DEADLINE).await), "E0520");
            let bad = json!({ "Image": "base:1", "HostConfig": { "Memory": 1 } });
            let refused = client.send("create", hyper::Method::POST, "/containers/create", &[], Some(&bad), CHANGE_DEADLINE).await;
            assert_eq!(code(refused), "E0524");
        });
    }

    fn events_are_followed_as_raw_json(engine) {
        run(async {
            let client = connect(engine).await;
            let name = engine.unique("events");
            let mut events = client.events(None, &json!({ "type": ["network"] })).await.unwrap();
            let body = json!({ "Name": name });
            client.send("create", hyper::Method::POST, "/networks/create", &[], Some(&body), CHANGE_DEADLINE).await.unwrap();
            let seen = tokio::time::timeout(Duration::from_secs(10), async {
                loop {
                    let event = events.next().await.unwrap().unwrap();
                    if event["Actor"]["Attributes"]["name"] == name.as_str() {
                        return event["Action"].clone();
                    }
                }
            });
            assert_eq!(seen.await.unwrap(), "create");
            assert!(client.network(&name).await.unwrap().is_some());
            client.send("remove", hyper::Method::DELETE, &path(&["networks", &name]), &[], None, CHANGE_DEADLINE).await.unwrap();
            assert!(client.network(&name).await.unwrap().is_none());
        });
    }

    fn a_cut_read_is_sent_again_and_a_cut_change_is_not(engine) {
        let proxy = Proxy::start(&engine.socket());
        run(async {
            let client = Client::connect(&Endpoint::unix(proxy.socket())).await.unwrap();
            proxy.clear();
            proxy.fault_nth("GET", "^/networks", 0, 1, Fault::DropBefore);
            client.networks(&json!({})).await.unwrap();
            let name = engine.unique("cut");
            proxy.fault("POST", "^/volumes/create", Fault::DropAfter);
            let body = json!({ "Name": name });
            let cut = client.send("create", hyper::Method::POST, "/volumes/create", &[], Some(&body), CHANGE_DEADLINE).await;
            let cut = cut.unwrap_err();
            assert!(cut.may_have_happened(), "{cut:?}");
            assert_eq!(proxy.count("POST", "/volumes/create"), 1);
            proxy.clear();
            assert!(client.volume(&name).await.unwrap().is_some());
            client.send("remove", hyper::Method::DELETE, &path(&["volumes", &name]), &[], None, CHANGE_DEADLINE).await.unwrap();
        });
    }

    fn a_pull_that_fails_says_why(engine) {
        run(async {
            let client = connect(engine).await;
            // Nobody listens there.
            let pulled = client.pull("127.0.0.1:1/nothing:1", None, None, |_| {}).await;
            assert_eq!(code(pulled), "E0533");
            assert_eq!(code(client.distribution("127.0.0.1:1/nothing:1", None).await), "E0533");
            assert!(client.image("nothing:1").await.unwrap().is_none());
            assert!(client.image("base:1").await.unwrap().is_some());
        });
    }

    fn many_inspects_come_back_whole_and_in_order(engine) {
        run(async {
            let client = connect(engine).await;
            let body = json!({ "Image": "base:1", "Cmd": ["true"] });
            let mut ids = Vec::new();
            for _ in 0..2 {
                let name = engine.unique("many");
                let query = [("name", name.as_str())];
                let made = client.send("create", hyper::Method::POST, "/containers/create", &query, Some(&body), CHANGE_DEADLINE).await;
                ids.push(made.unwrap()["Id"].as_str().unwrap().to_owned());
            }
            let asked: Vec<&String> = ids.iter().cycle().take(500).collect();
            let seen = client.inspect(&asked).await.unwrap();
            for (id, seen) in asked.iter().zip(&seen) {
                assert_eq!(seen.as_ref().unwrap()["Id"], id.as_str());
            }
            for id in ids {
                client.send("remove", hyper::Method::DELETE, &path(&["containers", &id]), &[], None, CHANGE_DEADLINE).await.unwrap();
            }
        });
    }
}

#[test]
fn what_does_not_answer_like_an_engine_says_so() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let absent = Client::connect(&Endpoint::unix(folder.path().join("no.sock")))
            .await
            .unwrap_err();
        assert_eq!(absent.code().to_string(), "E0501");
        assert!(absent.engine_is_away());

        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        assert_eq!(code(Client::connect(&Endpoint::unix(stale)).await), "E0503");

        for (answer, expected) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
                "E0505",
            ),
            ("SSH-2.0-OpenSSH_9.2\r\n", "E0505"),
            (
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
                "E0505",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"ApiVersion\":\"1.24\",\"x\":11}",
                "E0506",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 45\r\nconnection: close\r\n\r\n{\"ApiVersion\":\"9.9\",\"MinAPIVersion\":\"9.1\"   }",
                "E0507",
            ),
            ("", "E0510"),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let host = format!("tcp://{}", listener.local_addr().unwrap());
            let endpoint = resolve(Some(&host), &DockerEnv::default(), &DiskFiles).unwrap();
            let serve = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut request = [0; 2048];
                    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
                }
            };
            let result = tokio::select! { result = Client::connect(&endpoint) => result, () = serve => unreachable!() };
            assert_eq!(code(result), expected, "{answer}");
        }
    });
}
