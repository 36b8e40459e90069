//! Calls that cannot be served, and what they are told.

use bucket_scanner::Config;
use stoker_proto::ledger::v1::{
    CancelJobRequest, CommitOutcomesRequest, FinishUnitRequest, GetJobRequest, StartJobRequest,
    WatchJobRequest,
};
use tonic::Code;

use crate::{folder, parts, serve};

#[tokio::test]
async fn wrong_calls_are_answered_with_what_is_wrong() {
    let mut service = serve(Config::default()).await;
    let unknown = service
        .jobs
        .get_job(GetJobRequest { job_id: 9 })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let unknown = service
        .jobs
        .cancel_job(CancelJobRequest { job_id: 9 })
        .await
        .unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.message()),
        (
            Code::NotFound,
            "there is no job 9; `stoker jobs` lists those there are"
        )
    );
    let mut watch = service
        .jobs
        .watch_job(WatchJobRequest { job_id: 9 })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::NotFound);
    let nothing = service
        .jobs
        .start_job(StartJobRequest::default())
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);

    let folder = folder();
    service.start(folder.path()).await;
    let unit = service.lease(10_000).await.remove(0);
    let good = parts(&unit, &[5]);
    let mut unheaded = good.clone();
    unheaded.remove(0);
    let mut headed_twice = good.clone();
    headed_twice.push(good[0].clone());
    let too_large = parts(&unit, &[(1 << 20) + 1]);
    let empty_part = vec![good[0].clone(), CommitOutcomesRequest { part: None }];
    for bad in [Vec::new(), unheaded, headed_twice, too_large, empty_part] {
        let refused = service
            .work
            .commit_outcomes(futures::stream::iter(bad))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let mut stranger = unit.clone();
    stranger.lease.as_mut().unwrap().token.push('x');
    let commit = futures::stream::iter(parts(&stranger, &[]));
    let lost = service.work.commit_outcomes(commit).await.unwrap_err();
    assert_eq!(lost.code(), Code::FailedPrecondition);
    let nameless = service
        .work
        .finish_unit(FinishUnitRequest::default())
        .await
        .unwrap_err();
    assert_eq!(nameless.code(), Code::InvalidArgument);
    service
        .work
        .commit_outcomes(futures::stream::iter(good))
        .await
        .unwrap();
}
