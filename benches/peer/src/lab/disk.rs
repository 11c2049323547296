//! What the disk does by itself, and one whose power can be cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Result;

/// The bytes of a record.
const RECORD: usize = 128;

/// Prints how often records can be appended and synced in `dir`, one and 64 at a time.
pub fn measure(dir: &Path, measured_s: f64) -> Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join("fsync-baseline");
    for window in [1, 64] {
        let mut file = File::create(&path)?;
        let records = vec![b'x'; RECORD * window];
        let mut took_ms = Vec::new();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < measured_s {
            let since = Instant::now();
            file.write_all(&records)?;
            file.sync_data()?;
            took_ms.push(since.elapsed().as_secs_f64() * 1e3);
        }
        let elapsed = start.elapsed().as_secs_f64();
        took_ms.sort_by(f64::total_cmp);
        let syncs = took_ms.len();
        println!(
            "fsync target=fdatasync window={window} records_per_s={:.0} syncs_per_s={:.0} \
             p50_ms={:.3} p99_ms={:.3} max_ms={:.3}",
            (syncs * window) as f64 / elapsed,
            syncs as f64 / elapsed,
            took_ms[syncs / 2],
            took_ms[syncs * 99 / 100],
            took_ms[syncs - 1],
        );
    }
    Ok(fs::remove_file(&path)?)
}

/// A file system in a file, mounted where a broker keeps its data. At the power cut the file is
/// copied: the copy holds only what the file system had handed down by then.
pub struct Disk {
    mounted_at: PathBuf,
    image: PathBuf,
    copy: PathBuf,
}

impl Disk {
    /// Mounts an empty one at `mounted_at`; needs root.
    pub fn mount(mounted_at: PathBuf, dir: &Path) -> Result<Self> {
        let disk = Self {
            mounted_at,
            image: dir.join("disk.img"),
            copy: dir.join("disk-after-power-cut.img"),
        };
        File::create(&disk.image)?.set_len(256 << 20)?;
        command("mkfs.ext4", &["-q", "-F"], &[&disk.image])?;
        command("mount", &["-o", "loop"], &[&disk.image, &disk.mounted_at])?;
        Ok(disk)
    }

    /// Hands everything down that was written so far.
    pub fn sync(&self) -> Result<()> {
        command("sync", &["-f"], &[&self.mounted_at])
    }

    /// Copies what was handed down: nothing may be writing.
    pub fn cut_power(&self) -> Result<()> {
        command("cp", &["--sparse=always"], &[&self.image, &self.copy])
    }

    /// Mounts the copy instead: nothing may be using the disk.
    pub fn restore_power(&self) -> Result<()> {
        command("umount", &[], &[&self.mounted_at])?;
        command("mount", &["-o", "loop"], &[&self.copy, &self.mounted_at])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The run is over; what remains mounted is seen by whoever starts the next one.
        if let Err(error) = command("umount", &[], &[&self.mounted_at]) {
            eprintln!("peer: {error}");
        }
    }
}

fn command(program: &str, options: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(program).args(options).args(paths).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", words.trim()).into())
}
