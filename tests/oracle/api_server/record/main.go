// Judges objects as kubectl create and the API server do, without a cluster: their own libraries, in their order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

type row struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
	Says string `json:"says"`
}

type version struct {
	structural *structuralschema.Structural
	validator  crvalidation.SchemaValidator
}

var versions = map[string]version{}

func load(path string) {
	data, err := os.ReadFile(path)
	check(err)
	crd := &extv1.CustomResourceDefinition{}
	check(yaml.Unmarshal(data, crd))
	for _, v := range crd.Spec.Versions {
		internal := &apiextensions.JSONSchemaProps{}
		check(extv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, internal, nil))
		s, err := structuralschema.NewStructural(internal)
		check(err)
		validator, _, err := crvalidation.NewSchemaValidator(internal)
		check(err)
		versions["kaito.sh/"+v.Name] = version{s, validator}
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type metadataOnly struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
}

// judge returns why an object is refused, empty when it is not.
func judge(text string) string {
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return "error converting YAML to JSON: " + err.Error()
	}
	return judgeJSON(data)
}

func judgeJSON(data []byte) string {
	var content map[string]interface{}
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return err.Error()
	}
	if items, ok := content["items"]; ok && items != nil {
		list := &unstructured.UnstructuredList{}
		if err := list.UnmarshalJSON(data); err != nil {
			return err.Error()
		}
		for _, item := range list.Items {
			one, err := item.MarshalJSON()
			if err != nil {
				return err.Error()
			}
			if found := judgeJSON(one); found != "" {
				return found
			}
		}
		return ""
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		return err.Error()
	}
	if u.GetAPIVersion() == "" {
		return "apiVersion not set"
	}
	if err := utiljson.Unmarshal(data, &metadataOnly{}); err != nil {
		return "unable to decode: " + err.Error()
	}
	gvk := u.GetAPIVersion() + " " + u.GetKind()
	if gvk == "v1 ConfigMap" {
		return configMap(data)
	}
	v, ok := versions[u.GetAPIVersion()]
	if !ok || u.GetKind() != "Workspace" {
		return "no matches for kind " + gvk
	}
	return workspace(u, v)
}

func workspace(u *unstructured.Unstructured, v version) string {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return err.Error()
	}
	kind, apiVersion := u.GetKind(), u.GetAPIVersion()
	unknown = append(unknown, pruning.PruneWithOptions(u.Object, v.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, v.structural)
	if found {
		check(objectmeta.SetObjectMeta(u.Object, meta))
	}
	u.SetKind(kind)
	u.SetAPIVersion(apiVersion)
	if len(unknown) > 0 {
		return "strict decoding error: unknown field " + strings.Join(unknown, ", ")
	}
	defaulting.Default(u.Object, v.structural)
	delete(u.Object, "status")
	prepare(u)
	errs := metavalidation.ValidateObjectMetaAccessor(u, true, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, crvalidation.ValidateCustomResource(nil, u.UnstructuredContent(), v.validator)...)
	if len(errs) > 0 {
		return errs.ToAggregate().Error()
	}
	return ""
}

// prepare does what rest.BeforeCreate does to the metadata.
func prepare(meta metav1.Object) {
	meta.SetDeletionTimestamp(nil)
	meta.SetDeletionGracePeriodSeconds(nil)
	meta.SetGeneration(1)
	meta.SetUID("705ab4f5-6393-11e8-b7cc-42010a800002")
	meta.SetResourceVersion("")
	meta.SetSelfLink("")
	if meta.GetNamespace() == "" {
		meta.SetNamespace("default")
	}
	if meta.GetName() == "" && meta.GetGenerateName() != "" {
		base := meta.GetGenerateName()
		if len(base) > 58 {
			base = base[:58]
		}
		meta.SetName(base + "x7k2p")
	}
}

func configMap(data []byte) string {
	cm := &corev1.ConfigMap{}
	strict, err := kjson.UnmarshalStrict(data, cm)
	if err != nil {
		return err.Error()
	}
	if len(strict) > 0 {
		return fmt.Sprintf("strict decoding error: %v", strict)
	}
	prepare(cm)
	errs := metavalidation.ValidateObjectMeta(&cm.ObjectMeta, true, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	for i, name := range cm.Finalizers {
		standard := name == "kubernetes" || name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents
		if len(strings.Split(name, "/")) == 1 && !standard {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	total := 0
	for key, value := range cm.Data {
		for _, msg := range utilvalidation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, msg))
		}
		if _, ok := cm.BinaryData[key]; ok {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		total += len(value)
	}
	for key, value := range cm.BinaryData {
		for _, msg := range utilvalidation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(field.NewPath("binaryData").Key(key), key, msg))
		}
		total += len(value)
	}
	if total > 1048576 {
		errs = append(errs, field.TooLong(field.NewPath(""), "", 1048576))
	}
	if len(errs) > 0 {
		return errs.ToAggregate().Error()
	}
	return ""
}

func main() {
	load(os.Args[1])
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 0, 1<<20), 1<<26)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var r row
		check(json.Unmarshal(in.Bytes(), &r))
		r.Says = judge(r.Text)
		r.Text = ""
		line, err := json.Marshal(r)
		check(err)
		out.Write(append(line, '\n'))
	}
}
