"""Ops that do more than compute: a graph is a program, and running it runs them."""

import re

# {effect: names of ops}, without the prefix `Experimental` and suffixes such as `V2`.
_EFFECTS = {
    "runs Python": "PyFunc PyFuncStateless EagerPyFunc",
    "reads files": """
        ReadFile WholeFileReader TextLineReader FixedLengthRecordReader TFRecordReader LMDBReader
        MatchingFiles MatchingFilesDataset TextLineDataset FixedLengthRecordDataset TFRecordDataset
        LMDBDataset SqlDataset CSVDataset LoadDataset ListSnapshotChunksDataset
        ListSnapshotChunksDataset SnapshotDatasetReader SnapshotChunkDataset RecordInput
        Restore RestoreSlice LoadAndRemapMatrix GenerateVocabRemapping InitializeTableFromTextFile
        ImmutableConst FixedUnigramCandidateSampler CheckPinned IndexFlatMapDatasetFromFile
    """,
    "writes files": """
        WriteFile Save SaveSlices MergeV2Checkpoints DistributedSave DatasetToTFRecord SaveDataset
        SnapshotDataset SnapshotNestedDatasetReader CacheDataset CreateSummaryFileWriter
        CreateSummaryDbWriter SummaryWriter WriteSummary WriteScalarSummary WriteHistogramSummary
        WriteImageSummary WriteAudioSummary WriteGraphSummary WriteRawProtoSummary ImportEvent
        DebugIdentity DebugNanCount DebugNumericSummary
    """,
    "prints, which can go to a file": "Print",
    "talks to other processes or machines": r"""
        Send Recv _Send _Recv _HostSend _HostRecv RemoteCall RpcServer.* RpcClient RpcCall.*
        DataService.* RegisterDataset CompressElementToService DistributedTPU.* Nccl.* Collective.*
        FileSystemSetConfiguration GetSessionHandle ConfigureDistributedTPU WorkerHeartbeat
        Dtensor.* DTensor.*
    """,
    "runs machine code from the file": "XlaCustomCall XlaLaunch TPUExecute",
}
_PATTERNS = {
    effect: re.compile(f"(?:Experimental)?(?:{'|'.join(names.split())})(?:V\\d+)?")
    for effect, names in _EFFECTS.items()
}


def effect_of(op: str) -> str | None:
    """Returns the side effect of a type of op, or None if it only computes."""
    return next((effect for effect, names in _PATTERNS.items() if names.fullmatch(op)), None)
