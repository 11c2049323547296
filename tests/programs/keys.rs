//! Keys in files, and what happens when they are not the ones expected.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::Scene;

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the programs made it") {
        let entry = entry.expect("nobody else is in the scene");
        if entry.file_type().expect("it has a type").is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// KEY-5.
#[test]
fn private_keys_are_readable_by_their_owner_only() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let _ada = scene.join(broker.address, "ada");
    for directory in [scene.path("broker"), scene.path("data")] {
        let keys: Vec<PathBuf> = files_below(&directory)
            .into_iter()
            .filter(|file| file.to_string_lossy().contains("key"))
            .collect();
        assert!(!keys.is_empty(), "{:?}", files_below(&directory));
        for key in keys {
            let mode = fs::metadata(&key)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
    }
}

/// BRK-7, KEY-6.
#[test]
fn the_brokers_key_survives_restarts_even_without_a_store() {
    let scene = Scene::new();
    let mut fingerprints = Vec::new();
    for flags in [&[][..], &["--memory"], &["--memory"], &[]] {
        let broker = scene.broker().args(flags).start_broker();
        fingerprints.push(broker.fingerprint.clone());
        broker.stop().exited_with(0);
    }
    let hex = fingerprints[0].strip_prefix("SHA256:").expect("KEY-6");
    assert!(hex.len() == 64, "{hex}");
    assert!(
        fingerprints.iter().all(|found| *found == fingerprints[0]),
        "{fingerprints:?}"
    );
}

/// CLI-6, CLI-7, SEC-8.
#[test]
fn a_changed_key_of_the_broker_is_a_hard_stop() {
    let scene = Scene::new();
    let first = scene.broker().start_broker();
    let mut ada = scene.join(first.address, "ada");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    let (address, known) = (first.address, first.fingerprint.clone());
    first.stop().exited_with(0);

    let second = scene
        .bare_broker()
        .args(&["--listen", &address.to_string()])
        .data_dir(&scene.path("another"))
        .start_broker();
    let stopped = scene
        .node(address)
        .run(b"ada\nhello\n")
        .exited_with(77)
        .said(&known)
        .said(&second.fingerprint)
        .said(&format!("line 1 of {}", scene.path("data").display()));
    assert!(!stopped.stdout.contains("Joined"), "{stopped:#?}");
    assert_eq!(second.counted(), "People in chat: 0\n");
}

/// CLI-23, KEY-6.
#[test]
fn the_fingerprints_of_keys_can_be_looked_at() {
    let scene = Scene::new();
    let nothing = scene.broker().arg("keys").run(b"").exited_with(73);
    assert!(nothing.stderr.contains("no broker"), "{nothing:#?}");
    assert!(!scene.path("broker").join("key").exists());
    let broker = scene.broker().start_broker();
    let (ada, bob) = (
        scene.join(broker.address, "ada"),
        scene.join(broker.address, "Bob"),
    );
    let of_broker = scene.broker().arg("keys").run(b"").exited_with(0);
    assert_eq!(of_broker.stdout, format!("broker {}\n", broker.fingerprint));
    let node = || scene.node(broker.address).arg("keys").run(b"");
    let shown = node().exited_with(0).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], format!("broker {}", broker.fingerprint));
    assert_eq!((lines[1], lines[4]), ("  ada", "  bob"));
    let of = |line: usize, what: &str| {
        let key = lines[line].trim().strip_prefix(what).expect("what it is");
        assert_eq!(key.trim().len(), 7 + 64, "{shown}");
        key.trim().to_owned()
    };
    let keys = [
        of(2, "account"),
        of(3, "device"),
        of(5, "account"),
        of(6, "device"),
    ];
    assert!((0..4).all(|at| !keys[..at].contains(&keys[at])), "{shown}");
    drop((ada, bob));
    assert_eq!(node().exited_with(0).stdout, shown);
}

/// STO-1, KEY-5, CLI-6: what others can read is not used.
#[test]
fn nothing_starts_on_private_files_that_others_can_read() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    let address = broker.address;
    broker.stop().exited_with(0);
    let open_to = |path: &Path, mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, permissions).expect("it is ours");
    };
    let mut private = files_below(&scene.path("broker"));
    private.retain(|path| {
        ["key", "reset-secret", "log.db"]
            .iter()
            .any(|name| path.ends_with(name))
    });
    assert_eq!(private.len(), 3, "{private:?}");
    for path in private {
        open_to(&path, 0o640);
        let refused = scene.broker().run(b"").exited_with(73);
        assert!(refused.stderr.contains("chmod 600"), "{refused:#?}");
        open_to(&path, 0o600);
    }
    let broker = scene.broker_on(address).start_broker();
    let mut private = files_below(&scene.path("data"));
    private.retain(|path| {
        ["account.key", "device.key", "journal.db"]
            .iter()
            .any(|name| path.ends_with(name))
    });
    assert_eq!(private.len(), 3, "{private:?}");
    for path in private {
        open_to(&path, 0o604);
        let refused = scene
            .node(broker.address)
            .run(b"ada\nhello\n")
            .exited_with(73);
        assert!(refused.stderr.contains("chmod 600"), "{refused:#?}");
        assert_eq!(refused.stdout, "");
        open_to(&path, 0o600);
    }
}
