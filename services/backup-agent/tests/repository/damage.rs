//! What is not as it was written is found.

use backup_agent::repository::{RepositoryError, verify_part};

use crate::world::{World, back_up};

const BYTES: usize = (8 << 20) + 1000;

pub(crate) async fn whatever_is_damaged_is_found(world: &World, _: &str) {
    let repository = world.open();
    let manifest = back_up(&*repository, "x", BYTES).await.unwrap();
    for part in &manifest.parts {
        let path = world.path_of("x", &part.name).await;
        let good = world.bytes_at(&path).await;
        let last = good.len() - 1;
        let mut damaged = Vec::new();
        for (at, bit) in [(0, 0), (last / 2, 3), (last, 7)] {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            damaged.push(flipped);
        }
        damaged.push(good[..last].to_vec());
        damaged.push(Vec::new());
        damaged.push([&good[..], b"x"].concat());
        for (number, bytes) in damaged.into_iter().enumerate() {
            world.put_at(&path, bytes).await;
            let error = verify_part(&*repository, "x", part).await.unwrap_err();
            let found = matches!(error, RepositoryError::Differs { .. });
            assert!(found, "{} {number}: {error}", part.name);
        }
        world.remove_at(&path).await;
        let error = verify_part(&*repository, "x", part).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Differs { .. }), "{error}");
        world.put_at(&path, good).await;
        verify_part(&*repository, "x", part).await.unwrap();
    }
}
