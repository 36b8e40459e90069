//! What an object's name says of its content.

use stoker_proto::common::v1::{Compression, FileType};

/// Resource types by wave, so that what others refer to is loaded before them. References that run
/// against this order (FHIR's have circles) are seldom filled: https://hl7.org/fhir/R4/resourceguide.html
const WAVES: [&[&str]; 15] = [
    &[
        "Organization",
        "Endpoint",
        "Binary",
        "CodeSystem",
        "ValueSet",
        "ConceptMap",
        "NamingSystem",
        "StructureDefinition",
        "StructureMap",
        "SearchParameter",
        "OperationDefinition",
        "CapabilityStatement",
        "TerminologyCapabilities",
        "CompartmentDefinition",
        "GraphDefinition",
        "MessageDefinition",
        "ImplementationGuide",
        "ExampleScenario",
        "EventDefinition",
        "Library",
        "Questionnaire",
        "ActivityDefinition",
        "PlanDefinition",
        "Measure",
        "SpecimenDefinition",
        "ObservationDefinition",
        "ChargeItemDefinition",
        "TestScript",
        "Citation",
        "EvidenceVariable",
        "Evidence",
        "ResearchElementDefinition",
        "ResearchDefinition",
        "SubscriptionTopic",
    ],
    &[
        "Location",
        "Practitioner",
        "Substance",
        "SubstanceDefinition",
        "DeviceDefinition",
        "MedicinalProductDefinition",
        "ManufacturedItemDefinition",
        "Ingredient",
    ],
    &[
        "HealthcareService",
        "Medication",
        "MedicationKnowledge",
        "InsurancePlan",
        "NutritionProduct",
        "AdministrableProductDefinition",
        "PackagedProductDefinition",
        "RegulatedAuthorization",
        "ClinicalUseDefinition",
        "CatalogEntry",
    ],
    &["PractitionerRole", "OrganizationAffiliation"],
    &["Patient"],
    &[
        "RelatedPerson",
        "Person",
        "Device",
        "BiologicallyDerivedProduct",
        "BodyStructure",
    ],
    &[
        "Coverage",
        "Group",
        "DeviceMetric",
        "Schedule",
        "ResearchStudy",
    ],
    &[
        "EpisodeOfCare",
        "Account",
        "Slot",
        "ResearchSubject",
        "EnrollmentRequest",
        "CoverageEligibilityRequest",
    ],
    &["Encounter", "Appointment"],
    &[
        "Condition",
        "AllergyIntolerance",
        "CareTeam",
        "ServiceRequest",
        "Specimen",
        "DeviceRequest",
        "NutritionOrder",
        "VisionPrescription",
        "SupplyRequest",
        "RequestGroup",
        "AppointmentResponse",
        "Flag",
        "Consent",
    ],
    &[
        "Observation",
        "Procedure",
        "Immunization",
        "MedicationRequest",
        "Goal",
        "ImagingStudy",
        "Media",
        "MolecularSequence",
        "FamilyMemberHistory",
        "DeviceUseStatement",
        "SupplyDelivery",
        "QuestionnaireResponse",
        "RiskAssessment",
        "CoverageEligibilityResponse",
        "EnrollmentResponse",
    ],
    &[
        "DiagnosticReport",
        "CarePlan",
        "DocumentReference",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationStatement",
        "ImmunizationEvaluation",
        "ImmunizationRecommendation",
        "ClinicalImpression",
        "AdverseEvent",
        "DetectedIssue",
        "Communication",
        "CommunicationRequest",
        "GuidanceResponse",
    ],
    &[
        "Claim",
        "ChargeItem",
        "Composition",
        "DocumentManifest",
        "List",
        "Task",
        "Contract",
        "MeasureReport",
        "EvidenceReport",
        "TestReport",
    ],
    &[
        "ClaimResponse",
        "ExplanationOfBenefit",
        "Invoice",
        "PaymentNotice",
        "PaymentReconciliation",
    ],
    &[
        "Provenance",
        "AuditEvent",
        "Linkage",
        "VerificationResult",
        "Basic",
        "Subscription",
        "SubscriptionStatus",
        "MessageHeader",
    ],
];

/// With the patients: their Bundles refer to hospitals and practitioners, and to what they hold.
const WAVE_OF_JSON: u32 = 4;

/// In the middle.
const WAVE_OF_UNKNOWN_NDJSON: u32 = 8;

/// The wave that an object of this name (without its path) is loaded in: those of lower numbers are
/// loaded before it. By the names that Synthea gives its Bundles, and that Bulk Data exports give their
/// files, in which the resource type stands between other signs than letters (`1.Patient.ndjson`).
pub(crate) fn wave(name: &str, file_type: FileType) -> u32 {
    if file_type == FileType::Json {
        return match name {
            _ if begins_with(name, "hospitalInformation") => 0,
            _ if begins_with(name, "practitionerInformation") => 1,
            _ => WAVE_OF_JSON,
        };
    }
    let words = name.split(|c: char| !c.is_alphabetic());
    words
        .filter(|word| !word.is_empty())
        .find_map(wave_of_type)
        .unwrap_or(WAVE_OF_UNKNOWN_NDJSON)
}

fn begins_with(name: &str, start: &str) -> bool {
    let found = name.get(..start.len());
    found.is_some_and(|found| found.eq_ignore_ascii_case(start))
}

fn wave_of_type(word: &str) -> Option<u32> {
    let is_of = |types: &&[&str]| types.iter().any(|known| known.eq_ignore_ascii_case(word));
    let wave = WAVES.iter().position(is_of)?;
    u32::try_from(wave).ok()
}

/// Type and compression by the name's ending, in upper or lower case: `.json` or `.ndjson`, with
/// `.gz` or `.zst` after it or not. None: the name says it holds no FHIR JSON.
pub(crate) fn classify(key: &str) -> Option<(FileType, Compression)> {
    let (stem, compression) = match split_ending(key)? {
        (stem, "gz") => (stem, Compression::Gzip),
        (stem, "zst") => (stem, Compression::Zstd),
        _ => (key, Compression::None),
    };
    match split_ending(stem)? {
        (_, "ndjson") => Some((FileType::Ndjson, compression)),
        (_, "json") => Some((FileType::Json, compression)),
        _ => None,
    }
}

/// What stands before the last dot, and the known ending after it in lower case.
fn split_ending(name: &str) -> Option<(&str, &'static str)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let known = ["gz", "zst", "ndjson", "json"];
    let ending = known
        .into_iter()
        .find(|known| ending.eq_ignore_ascii_case(known))?;
    Some((stem, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_type_and_compression() {
        let cases = [
            ("/a/b.json", Some((FileType::Json, Compression::None))),
            ("b.NDJSON", Some((FileType::Ndjson, Compression::None))),
            ("b.ndjson.gz", Some((FileType::Ndjson, Compression::Gzip))),
            ("b.Json.Zst", Some((FileType::Json, Compression::Zstd))),
            (
                "患者.ndjson.zst",
                Some((FileType::Ndjson, Compression::Zstd)),
            ),
            ("b.json.bz2", None),
            ("b.gz", None),
            ("b.jsonl", None),
            ("json", None),
            ("b.json/", None),
            ("", None),
        ];
        for (key, expected) in cases {
            assert_eq!(classify(key), expected, "{key}");
        }
    }
    #[test]
    fn what_others_refer_to_comes_first() {
        let ndjson = [
            ("Organization.ndjson", 0),
            ("Organization.000.ndjson.gz", 0),
            ("Patient-1.ndjson", 4),
            ("1.Patient.ndjson", 4),
            ("PATIENT.ndjson.zst", 4),
            ("practitionerrole_0001.ndjson", 3),
            ("Practitioner.ndjson", 1),
            ("export-2024-01-01-Observation-07.ndjson", 10),
            ("Patients.ndjson", WAVE_OF_UNKNOWN_NDJSON),
            ("everything.ndjson", WAVE_OF_UNKNOWN_NDJSON),
            ("", WAVE_OF_UNKNOWN_NDJSON),
        ];
        for (name, expected) in ndjson {
            assert_eq!(wave(name, FileType::Ndjson), expected, "{name}");
        }
        let json = [
            ("hospitalInformation1679.json", 0),
            ("practitionerInformation1679.json.gz", 1),
            ("Abe604_Frami345_b8dd1798.json", WAVE_OF_JSON),
            ("Organization.json", WAVE_OF_JSON),
            ("患者.json", WAVE_OF_JSON),
        ];
        for (name, expected) in json {
            assert_eq!(wave(name, FileType::Json), expected, "{name}");
        }
    }

    #[test]
    fn types_of_synthea_and_us_core_come_after_what_they_refer_to() {
        let references = [
            ("Location", "Organization"),
            ("PractitionerRole", "Practitioner"),
            ("PractitionerRole", "HealthcareService"),
            ("Patient", "PractitionerRole"),
            ("Device", "Patient"),
            ("Coverage", "RelatedPerson"),
            ("Encounter", "EpisodeOfCare"),
            ("CareTeam", "Encounter"),
            ("Condition", "Encounter"),
            ("MedicationRequest", "Medication"),
            ("MedicationRequest", "Condition"),
            ("Procedure", "Condition"),
            ("Goal", "Condition"),
            ("ImagingStudy", "Encounter"),
            ("DiagnosticReport", "Observation"),
            ("CarePlan", "CareTeam"),
            ("CarePlan", "Goal"),
            ("MedicationAdministration", "MedicationRequest"),
            ("Claim", "Procedure"),
            ("Claim", "MedicationRequest"),
            ("ExplanationOfBenefit", "Claim"),
            ("Provenance", "ExplanationOfBenefit"),
        ];
        for (from, to) in references {
            assert!(
                wave_of_type(from) > wave_of_type(to),
                "{from} refers to {to}"
            );
        }
    }

    #[test]
    fn every_type_that_the_ledger_knows_has_one_wave() {
        // These hold others, or answer a request: no file of a load is named after them.
        let none = ["Bundle", "OperationOutcome", "Parameters"];
        let known = include_str!("../migrations/common/0002_resource_types.sql");
        let quoted = known.split('\'').skip(1).step_by(2);
        let known: Vec<&str> = quoted.filter(|word| !none.contains(word)).collect();
        assert!(known.len() > 130, "{}", known.len());
        let all: Vec<&str> = WAVES
            .iter()
            .flat_map(|types| types.iter().copied())
            .collect();
        for of in &known {
            assert_eq!(all.iter().filter(|t| *t == of).count(), 1, "{of}");
        }
        assert_eq!(all.len(), known.len());
    }
}
