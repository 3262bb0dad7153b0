//! A small disk of its own: it can be full, and one can look at what of it would have outlived a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// How large it is.
const BYTES: u64 = 128 << 20;

/// How often a copy is tried that nothing was written into meanwhile.
const COPIES: usize = 20;

/// A file system in a file, mounted. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
    image: PathBuf,
    _folder: TempDir,
}

impl Disk {
    /// Makes a file system, and mounts it.
    ///
    /// # Errors
    ///
    /// When this is not root on a machine with loop devices and ext4.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        File::create(&image)?.set_len(BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        Self::mount(folder, image)
    }

    fn mount(folder: TempDir, image: PathBuf) -> anyhow::Result<Self> {
        let mount = folder.path().join("mount");
        fs::create_dir(&mount)?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))
            .context("a disk that can be full needs root and loop devices")?;
        Ok(Self {
            mount,
            image,
            _folder: folder,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    ///
    /// When the file cannot be made that takes the room.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast())?;
        for size in [1 << 20, 4096] {
            let block = vec![1; size];
            while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    ///
    /// When that is not possible.
    pub fn make_room(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// The disk as it would be found after a power cut at this moment: what programs have written and not flushed is in
    /// the kernel's memory, and not in the file behind the disk. Whoever writes has to stand still. Two copies that are
    /// the same show that the kernel wrote nothing meanwhile, so it is the disk of one moment.
    ///
    /// # Errors
    ///
    /// When there is no such copy.
    pub fn as_flushed(&self) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        let same = (0..COPIES).find_map(|_| {
            let first = fs::read(&self.image).ok()?;
            let second = fs::read(&self.image).ok()?;
            (first == second).then_some(first)
        });
        let copy = same.context("the disk was written all the time")?;
        fs::write(&image, copy)?;
        Self::mount(folder, image)
    }
}

/// Makes sure that a disk does what the runs rely on: what was not flushed is not in a copy, and a full disk takes no more.
///
/// # Errors
///
/// When it does not, or none can be mounted.
pub fn prove() -> anyhow::Result<()> {
    let disk = Disk::new()?;
    let mut flushed = File::create(disk.path().join("flushed"))?;
    flushed.write_all(b"flushed")?;
    flushed.sync_all()?;
    fs::write(disk.path().join("written"), "written")?;
    let copy = disk.as_flushed()?;
    ensure!(
        fs::read(copy.path().join("flushed"))? == b"flushed",
        "what was flushed is not in the copy of a disk"
    );
    let written = fs::read(copy.path().join("written")).unwrap_or_default();
    ensure!(written.is_empty(), "what was not flushed is in the copy of a disk");
    disk.fill()?;
    let more = disk.path().join("more");
    ensure!(fs::write(&more, vec![1; 100_000]).is_err(), "a full disk takes more");
    disk.make_room()?;
    Ok(fs::write(&more, vec![1; 100_000])?)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while somebody has a file open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {why}");
    Ok(())
}
