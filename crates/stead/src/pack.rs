//! `stead pack`: what a deploy would bring, as folders or zip files: for an installer, or to be
//! carried by hand.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Deserialize;
use stead_fleet::Stage;
use stead_release::release::Release;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::Context;
use crate::args::PackArgs;
use crate::deploy;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, LocalFleet, Part, PartKey};
use crate::hosts;
use crate::interrupts::Interrupts;

/// Longer files are written in the format that has room for their length.
const SMALL_LEN_MAX: u64 = u32::MAX as u64;

pub(crate) async fn pack(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    args: PackArgs,
) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let file = file.narrowed(&args.scope)?;
    file.check_files(Stage::NotBuilt)?;
    let local = |host: &stead_fleet::Host| LocalFleet { file: &file, host: host.name().clone() };
    let fleets: Vec<_> = hosts::used(&file).map(local).collect();
    let parts = interrupts.or(deploy::build(ctx, &fleets)).await?;
    let at = |path: &Path, source| FleetFailure::Pack { path: path.into(), source };
    fs::create_dir_all(&args.output).map_err(|source| at(&args.output, source))?;
    for (key, release) in parts.iter().filter(|(key, _)| key.part == Part::Files) {
        let PartKey { service, os, .. } = key;
        let name = format!("{service}-{}-{}", os.as_str(), release.digest().short());
        let fleet = fleets.iter().find(|fleet| fleet.programs().any(|it| it.0.name() == service));
        // A folder that is there already may be its owner's: a zip file is made of one of its own.
        let folder = args.output.join(if args.zip { format!(".{name}") } else { name.clone() });
        release.pack_as_folder(&folder).map_err(|source| {
            let fleet = fleet.expect("what was built is of one of them");
            fleet.pack_failure(service, key.part, 0, source)
        })?;
        let made = match args.zip {
            false => folder,
            true => {
                let zip = args.output.join(format!("{name}.zip"));
                zip_of(release, &folder, &zip).map_err(|source| at(&zip, source))?;
                zip
            }
        };
        ctx.screen.write(&format!("{}\n", made.display()))?;
    }
    Ok(())
}

/// An entry of a release, as its manifest tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Entry {
    File { mode: u32, len: u64 },
    Folder,
    Link { to: String },
}

/// Makes a zip file of a folder that holds a release, which goes. The same release is the same
/// bytes: nothing in it tells when it was made.
fn zip_of(release: &Release, folder: &Path, path: &Path) -> io::Result<()> {
    let new = path.with_extension("zip.new");
    let mut zip = ZipWriter::new(File::create(&new)?);
    let manifest = release.manifest();
    for (inside, entry) in manifest.as_object().into_iter().flatten() {
        let options = SimpleFileOptions::default();
        match Entry::deserialize(entry)? {
            Entry::Folder => zip.add_directory(inside, options.unix_permissions(0o755))?,
            Entry::Link { to } => zip.add_symlink(inside, to, options)?,
            Entry::File { mode, len } => {
                let options = options.unix_permissions(mode).large_file(len > SMALL_LEN_MAX);
                zip.start_file(inside, options.compression_method(CompressionMethod::Deflated))?;
                io::copy(&mut File::open(folder.join(inside))?, &mut zip)?;
            }
        }
    }
    zip.finish()?.sync_all()?;
    fs::rename(new, path)?;
    fs::remove_dir_all(folder)
}
