package reason

// Causes of launch/audit.
const (
	AuditUnwritable  Code = "audit-unwritable"
	AuditAbsent      Code = "audit-absent"
	AuditLogAbsent   Code = "audit-log-absent"
	AuditHeadAbsent  Code = "audit-head-absent"
	AuditHeadEdited  Code = "audit-head-edited"
	AuditKeyAbsent   Code = "audit-key-absent"
	AuditKeyExposed  Code = "audit-key-exposed"
	AuditEdited      Code = "audit-edited"
	AuditInserted    Code = "audit-inserted"
	AuditRemoved     Code = "audit-removed"
	AuditReordered   Code = "audit-reordered"
	AuditStartCut    Code = "audit-start-cut"
	AuditTailCut     Code = "audit-tail-cut"
	AuditTorn        Code = "audit-torn"
	AuditLogAhead    Code = "audit-log-ahead"
	AuditForked      Code = "audit-forked"
	AuditRebuilt     Code = "audit-rebuilt"
	AuditWrongRecord Code = "audit-wrong-record"
)

var auditRows = []Row{
	{AuditUnwritable, Host, "a record cannot be written, so nothing starts", "launch/audit TestUnwritable"},
	{AuditAbsent, Denied, "there is no audit log, head or key here", "launch/audit TestVerifyAbsent"},
	{AuditLogAbsent, Denied, "the log is gone while its head is there", "launch/audit TestTamper/log-deleted"},
	{AuditHeadAbsent, Denied, "the head is gone while the key is there", "launch/audit TestTamper/head-deleted"},
	{AuditHeadEdited, Denied, "the head was not written with this host's key", "launch/audit TestTamper/head-edited"},
	{AuditKeyAbsent, Denied, "the key is gone or is no key, while there is a log", "launch/audit TestTamper/key-deleted"},
	{AuditKeyExposed, Denied, "others can read the key, so others could write the log", "launch/audit TestTamper/key-exposed"},
	{AuditEdited, Denied, "a record is not the one that was written", "launch/audit TestTamper/edit"},
	{AuditInserted, Denied, "there is a record that this host did not write there", "launch/audit TestTamper/insert"},
	{AuditRemoved, Denied, "records are missing from the middle of the log", "launch/audit TestTamper/remove"},
	{AuditReordered, Denied, "records are not in the order of their numbers", "launch/audit TestTamper/reorder"},
	{AuditStartCut, Denied, "the log does not begin with record 1", "launch/audit TestTamper/cut-start"},
	{AuditTailCut, Denied, "the log ends before its head", "launch/audit TestTamper/cut-tail"},
	{AuditTorn, CannotTell, "the last write was cut off half way; the next start mends it", "launch/audit TestTamper/torn"},
	{AuditLogAhead, Denied, "the log is more than one record ahead of its head", "launch/audit TestTamper/head-rolled-back"},
	{AuditForked, Denied, "genuine records of two different histories are joined", "launch/audit TestTamper/fork"},
	{AuditRebuilt, Denied, "the whole chain was made with another key", "launch/audit TestTamper/rebuild"},
	{AuditWrongRecord, Internal, "a caller asked for a record that the log does not take", "launch/audit TestWrongRecord"},
}
