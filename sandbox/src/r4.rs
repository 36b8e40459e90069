//! What the sandbox knows of FHIR R4: names of resource types, and a few of their elements.

/// The name of a resource type as a constant, or nothing when R4 has no such (concrete) type.
pub(crate) fn resource_type(name: &str) -> Option<&'static str> {
    let index = RESOURCE_TYPES.binary_search(&name).ok()?;
    Some(RESOURCE_TYPES[index])
}

/// The elements that a resource of this type cannot be without; `[x]` ends the name of a choice.
pub(crate) fn required_elements(kind: &str) -> &'static [&'static str] {
    let found = REQUIRED.binary_search_by_key(&kind, |(name, _)| name);
    found.map_or(&[], |index| REQUIRED[index].1)
}

/// The elements of a type, where they are known here.
pub(crate) fn known_elements(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Patient" => Some(PATIENT),
        "Observation" => Some(OBSERVATION),
        _ => None,
    }
}

/// Whether an element has the name that a table gives, `[x]` standing for any type.
pub(crate) fn names(table_name: &str, element: &str) -> bool {
    let Some(stem) = table_name.strip_suffix("[x]") else {
        return table_name == element;
    };
    let ending = element.strip_prefix(stem);
    ending.is_some_and(|e| e.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Elements that every resource may have.
pub(crate) const COMMON: &[&str] = &[
    "resourceType",
    "id",
    "meta",
    "implicitRules",
    "language",
    "text",
    "contained",
    "extension",
    "modifierExtension",
];

const PATIENT: &[&str] = &[
    "identifier",
    "active",
    "name",
    "telecom",
    "gender",
    "birthDate",
    "deceased[x]",
    "address",
    "maritalStatus",
    "multipleBirth[x]",
    "photo",
    "contact",
    "communication",
    "generalPractitioner",
    "managingOrganization",
    "link",
];

const OBSERVATION: &[&str] = &[
    "identifier",
    "basedOn",
    "partOf",
    "status",
    "category",
    "code",
    "subject",
    "focus",
    "encounter",
    "effective[x]",
    "issued",
    "performer",
    "value[x]",
    "dataAbsentReason",
    "interpretation",
    "note",
    "bodySite",
    "method",
    "specimen",
    "device",
    "referenceRange",
    "hasMember",
    "derivedFrom",
    "component",
];

/// Sorted by name.
const REQUIRED: &[(&str, &[&str])] = &[
    ("AllergyIntolerance", &["patient"]),
    ("Appointment", &["status", "participant"]),
    ("AuditEvent", &["type", "recorded", "agent", "source"]),
    ("Binary", &["contentType"]),
    ("CarePlan", &["status", "intent", "subject"]),
    (
        "Claim",
        &[
            "status",
            "type",
            "use",
            "patient",
            "created",
            "provider",
            "priority",
            "insurance",
        ],
    ),
    (
        "ClaimResponse",
        &[
            "status", "type", "use", "patient", "created", "insurer", "outcome",
        ],
    ),
    ("CodeSystem", &["status", "content"]),
    ("Communication", &["status"]),
    (
        "Composition",
        &["status", "type", "date", "author", "title"],
    ),
    ("Condition", &["subject"]),
    ("Consent", &["status", "scope", "category"]),
    ("Coverage", &["status", "beneficiary", "payor"]),
    ("DetectedIssue", &["status"]),
    ("DiagnosticReport", &["status", "code"]),
    ("DocumentReference", &["status", "content"]),
    ("Encounter", &["status", "class"]),
    (
        "Endpoint",
        &["status", "connectionType", "payloadType", "address"],
    ),
    ("EpisodeOfCare", &["status", "patient"]),
    (
        "ExplanationOfBenefit",
        &[
            "status",
            "type",
            "use",
            "patient",
            "created",
            "insurer",
            "provider",
            "outcome",
            "insurance",
        ],
    ),
    ("Flag", &["status", "code", "subject"]),
    ("Goal", &["lifecycleStatus", "description", "subject"]),
    ("Group", &["type", "actual"]),
    ("ImagingStudy", &["status", "subject"]),
    (
        "Immunization",
        &["status", "vaccineCode", "patient", "occurrence[x]"],
    ),
    ("Library", &["status", "type"]),
    ("List", &["status", "mode"]),
    ("MeasureReport", &["status", "type", "measure", "period"]),
    ("Media", &["status", "content"]),
    (
        "MedicationAdministration",
        &["status", "medication[x]", "subject", "effective[x]"],
    ),
    ("MedicationDispense", &["status", "medication[x]"]),
    (
        "MedicationRequest",
        &["status", "intent", "medication[x]", "subject"],
    ),
    (
        "MedicationStatement",
        &["status", "medication[x]", "subject"],
    ),
    ("MessageHeader", &["event[x]", "source"]),
    ("Observation", &["status", "code"]),
    ("Procedure", &["status", "subject"]),
    ("Provenance", &["target", "recorded", "agent"]),
    ("Questionnaire", &["status"]),
    ("QuestionnaireResponse", &["status"]),
    ("RelatedPerson", &["patient"]),
    ("RiskAssessment", &["status", "subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["status", "intent", "subject"]),
    ("Slot", &["schedule", "status", "start", "end"]),
    (
        "StructureDefinition",
        &["url", "name", "status", "kind", "abstract", "type"],
    ),
    ("SupplyRequest", &["item[x]", "quantity"]),
    ("Task", &["status", "intent"]),
    ("ValueSet", &["status"]),
];

/// Sorted.
pub(crate) const RESOURCE_TYPES: &[&str] = &[
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_searched_by_halves() {
        assert!(RESOURCE_TYPES.is_sorted());
        assert!(REQUIRED.is_sorted_by_key(|(name, _)| name));
        assert!(
            REQUIRED
                .iter()
                .all(|(name, _)| resource_type(name).is_some())
        );
    }

    #[test]
    fn a_choice_has_a_type_in_its_name() {
        assert!(names("value[x]", "valueQuantity"));
        assert!(!names("value[x]", "value"));
        assert!(!names("value[x]", "valued"));
        assert!(names("code", "code"));
    }
}
