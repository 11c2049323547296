//! What a broker tells those who look after it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::process::Broker;
use crate::support::{PATIENCE, Scene};

/// Asks by HTTP, and returns the status line and all that follows.
fn get(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (status, rest) = answer.split_once("\r\n").expect("a status line");
    (status.to_owned(), rest.to_owned())
}

fn path(address: SocketAddr, path: &str) -> (String, String) {
    get(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n"),
    )
}

fn value(metrics: &str, name: &str) -> f64 {
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .parse()
        .expect("a number")
}

/// Where the broker says that it tells its metrics.
fn address(broker: &Broker) -> SocketAddr {
    broker.process.says("metrics are told");
    let said = broker.process.stderr.text();
    let mut lines = said
        .lines()
        .filter_map(|line| line.split_once("metrics are told"));
    let (_, rest) = lines.next().expect("a line about it");
    let digits = rest.rsplit("address=").next().unwrap_or_default();
    digits.trim().parse().expect("an address")
}

/// MET-1, MET-2, MET-3, BRK-4: counts for Prometheus, and a word for those who restart what hangs.
#[test]
fn a_broker_tells_its_counts_to_who_asks() {
    let scene = Scene::new();
    let broker = scene
        .broker()
        .args(&["--metrics", "127.0.0.1:0", "--budget", "lines=100/h:2"])
        .start_broker();
    let at = address(&broker);
    let mut ada = scene.join(broker.address, "ada");
    for text in ["one", "two", "secret three"] {
        ada.type_line(text);
    }
    ada.says("waiting for");
    let noise = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    noise
        .send_to(b"no hello at all", broker.address)
        .expect("sent");

    assert_eq!(path(at, "/healthz").0, "HTTP/1.1 200 OK");
    assert_eq!(path(at, "/readyz").0, "HTTP/1.1 200 OK");
    let (status, metrics) = path(at, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(
        metrics.contains("application/openmetrics-text"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    // Two lines, and the one that says that ada became a member.
    assert_eq!(value(&metrics, "tertulia_lines_stored_total"), 3.0);
    assert_eq!(value(&metrics, "tertulia_links"), 1.0);
    assert_eq!(value(&metrics, "tertulia_people"), 1.0);
    assert_eq!(value(&metrics, "tertulia_store_latency_seconds_count"), 2.0);
    assert!(value(&metrics, "tertulia_refused_total{reason=\"lines\"}") >= 1.0);
    assert!(value(&metrics, "tertulia_datagrams_dropped_total{reason=\"crc\"}") >= 1.0);
    assert!(value(&metrics, "tertulia_received_bytes_total") > 500.0);
    assert!(value(&metrics, "tertulia_held_bytes") > 10_000.0);
    for private in ["ada", "lobby", "secret", "127.0.0.1"] {
        assert!(!metrics.contains(private), "{private} in {metrics}");
    }
    assert_eq!(path(at, "/").0, "HTTP/1.1 404 Not Found");
    let post = "POST /metrics HTTP/1.1\r\nHost: broker\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(get(at, post).0, "HTTP/1.1 405 Method Not Allowed");
    assert!(get(at, "nonsense\r\n\r\n").0.contains("400"));
}

/// CLI-16, MET-1: the status of a broker that runs, and of one that does not any more.
#[test]
fn the_status_of_a_running_broker_shows_what_it_does() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("hello");
    ada.shows("ada: hello");
    let look = || {
        let status = scene.bare_broker().args(&["status"]);
        status.run(b"").exited_with(0)
    };
    let patience = crate::support::Stopwatch::start();
    let running = loop {
        let shown = look().stdout;
        if shown.contains("running: 1 links") && shown.contains(" 2 lines stored") {
            break shown;
        }
        assert!(patience.elapsed() < PATIENCE, "{shown}");
        std::thread::yield_now();
    };
    assert!(running.contains("memory: "), "{running}");
    assert!(running.contains("refused: none"), "{running}");
    broker.stop();
    let ended = look().stdout;
    assert!(!ended.contains("running: "), "{ended}");
}

/// CLI-6: an address that is taken is said in words.
#[test]
fn metrics_that_cannot_be_told_are_a_reason_not_to_start() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = taken.local_addr().expect("its address").to_string();
    let broker = scene.broker().args(&["--metrics", &at]);
    broker.run(b"").exited_with(69).said("cannot listen on");
}
