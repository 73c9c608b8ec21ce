"""Drives a job through AWS's own clients: boto3 on the control plane, the Jobs client of
awsiotsdk on the device.

Arguments: file of endpoints, CA file, certificate, key, thing name, version of MQTT (3 or 5).
Prints what it saw, JSON.
"""

import concurrent.futures
import json
import pathlib
import queue
import sys

import awsiot
import boto3
from awscrt import mqtt_request_response
from awsiot import iotjobs, mqtt5_client_builder, mqtt_connection_builder
from botocore.exceptions import ClientError

LIMIT = 20


def refused(action, **arguments):
    """Returns the error code of a request that must be refused."""
    try:
        action(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError(f"{action} was accepted")


def rejected(future):
    """Returns the code of a request of the device that must be rejected, and the state of the
    execution that came with it."""
    try:
        future.result(LIMIT)
    except awsiot.V2ServiceException as error:
        state = error.modeled_error.execution_state
        return [error.modeled_error.code, state and state.status, state and state.version_number]
    raise AssertionError("the request was accepted")


class Device:
    def __init__(self, port, ca, certificate, key, thing, version):
        self.thing = thing
        options = dict(endpoint="localhost", port=port, ca_filepath=ca, cert_filepath=certificate,
                       pri_key_filepath=key, client_id=thing)
        self.client = self.connect5(options) if version == "5" else self.connect3(options)
        self.jobs = iotjobs.IotJobsClientV2(
            self.client, mqtt_request_response.ClientOptions(
                max_request_response_subscriptions=8, max_streaming_subscriptions=4,
                operation_timeout_in_seconds=LIMIT))
        self.notified, self.next = queue.Queue(), queue.Queue()
        self.streams = [
            self.stream(self.jobs.create_job_executions_changed_stream,
                        iotjobs.JobExecutionsChangedSubscriptionRequest, self.notified),
            self.stream(self.jobs.create_next_job_execution_changed_stream,
                        iotjobs.NextJobExecutionChangedSubscriptionRequest, self.next)]

    @staticmethod
    def connect5(options):
        connected = concurrent.futures.Future()
        client = mqtt5_client_builder.mtls_from_path(
            **options, on_lifecycle_connection_success=connected.set_result,
            on_lifecycle_connection_failure=lambda e: connected.set_exception(e.exception))
        client.start()
        connected.result(LIMIT)
        return client

    @staticmethod
    def connect3(options):
        connection = mqtt_connection_builder.mtls_from_path(**options, clean_session=True)
        connection.connect().result(LIMIT)
        return connection

    def close(self):
        if hasattr(self.client, "stop"):
            self.client.stop()
        else:
            self.client.disconnect().result(LIMIT)

    def stream(self, create, request, events):
        """Opens a stream; returns it once the broker has confirmed the subscription."""
        open_ = concurrent.futures.Future()
        status = lambda event: (
            event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
            and not open_.done() and open_.set_result(True))
        stream = create(request(thing_name=self.thing), awsiot.ServiceStreamOptions(
            incoming_event_listener=events.put, subscription_status_listener=status))
        stream.open()
        open_.result(LIMIT)
        return stream

    def update(self, job, status, **more):
        return self.jobs.update_job_execution(iotjobs.UpdateJobExecutionRequest(
            thing_name=self.thing, job_id=job, status=status, **more))

    def pending(self):
        answer = self.jobs.get_pending_job_executions(
            iotjobs.GetPendingJobExecutionsRequest(thing_name=self.thing)).result(LIMIT)
        ids = lambda jobs: [job.job_id for job in jobs or []]
        return [ids(answer.in_progress_jobs), ids(answer.queued_jobs)]

    def describe(self, job):
        return self.jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(
            thing_name=self.thing, job_id=job, include_job_document=True))


def control(endpoint, secret="test"):
    return boto3.client("iot", endpoint_url=endpoint, region_name="eu-central-1",
                        aws_access_key_id="test", aws_secret_access_key=secret)


def main():
    endpoints, identity = json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2:7]
    iot = control(endpoints["iot_control"])
    device = Device(endpoints["iot_port"], *identity)
    thing = device.thing
    seen = {"empty": device.pending()}
    # Who is registered is in the group of all.
    seen["all"] = iot.list_things_in_thing_group(thingGroupName="edge-ai-all")["things"]

    group = iot.create_thing_group(thingGroupName="barn:1")["thingGroupArn"]
    iot.add_thing_to_thing_group(thingGroupName="barn:1", thingName=thing)
    seen["members"] = iot.list_things_in_thing_group(thingGroupName="barn:1")["things"]
    job = dict(targets=[group], document='{"set":"sha256:00","release":5}')
    arn = iot.create_job(
        jobId="edge-barn-5-canary", description="über 5 %", **job,
        jobExecutionsRolloutConfig={"maximumPerMinute": 50},
        abortConfig={"criteriaList": [{
            "failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 12.5,
            "minNumberOfExecutedThings": 4}]},
        timeoutConfig={"inProgressTimeoutInMinutes": 60},
        tags=[{"Key": "stage", "Value": "canary / 1"}])["jobArn"]
    notified, front = device.notified.get(timeout=LIMIT), device.next.get(timeout=LIMIT)
    seen["notified"] = [{k: [e.job_id for e in v] for k, v in notified.jobs.items()},
                        front.execution.job_document]
    seen["tags"] = iot.list_tags_for_resource(resourceArn=arn)["tags"]
    seen["again"] = refused(iot.create_job, jobId="edge-barn-5-canary", **job)
    seen["invalid"] = refused(iot.create_job, jobId="x", targets=[group], document="{")
    seen["absent"] = refused(iot.describe_job, jobId="none")
    seen["unsigned"] = refused(control(endpoints["iot_control"], "wrong").list_jobs)

    seen["described"] = device.describe("edge-barn-5-canary").result(LIMIT).execution.job_document
    started = device.update("edge-barn-5-canary", "IN_PROGRESS", expected_version=1,
                            status_details={"phase": "fetch"}, include_job_execution_state=True)
    state = started.result(LIMIT).execution_state
    seen["started"] = [state.status, state.version_number, state.status_details]
    seen["stale"] = rejected(device.update("edge-barn-5-canary", "FAILED", expected_version=1))
    seen["pending"] = device.pending()
    execution = iot.describe_job_execution(jobId="edge-barn-5-canary", thingName=thing)["execution"]
    seen["execution"] = [execution["status"], execution["statusDetails"]["detailsMap"],
                         execution["approximateSecondsBeforeTimedOut"] > 3500]
    device.update("edge-barn-5-canary", "SUCCEEDED", expected_version=2).result(LIMIT)
    seen["final"] = [rejected(device.update("edge-barn-5-canary", "FAILED")),
                     rejected(device.describe("edge-barn-5-canary"))]
    completed = iot.describe_job(jobId="edge-barn-5-canary")["job"]
    seen["completed"] = [completed["status"], completed["description"],
                         completed["jobProcessDetails"]["numberOfSucceededThings"],
                         completed["abortConfig"]["criteriaList"][0]["thresholdPercentage"],
                         completed["completedAt"] >= completed["createdAt"]]

    iot.create_job(jobId="edge-barn-6", **job, targetSelection="CONTINUOUS")
    started = device.update("edge-barn-6", "IN_PROGRESS", step_timeout_in_minutes=5,
                            include_job_execution_state=True).result(LIMIT).execution_state
    seen["next"] = [started.status, started.version_number]
    seen["running"] = refused(iot.cancel_job_execution, jobId="edge-barn-6", thingName=thing)
    iot.cancel_job(jobId="edge-barn-6", reasonCode="BAD_SET", comment="by hand", force=True)
    seen["canceled"] = rejected(device.update("edge-barn-6", "SUCCEEDED", expected_version=2))
    listed = iot.list_job_executions_for_thing(thingName=thing)["executionSummaries"]
    seen["listed"] = [[e["jobId"], e["jobExecutionSummary"]["status"]] for e in listed]
    pages = iot.get_paginator("list_jobs").paginate(PaginationConfig={"PageSize": 1})
    seen["pages"] = sorted(job["jobId"] for page in pages for job in page["jobs"])
    iot.delete_job(jobId="edge-barn-6")
    seen["deleted"] = refused(iot.get_job_document, jobId="edge-barn-6")
    device.close()
    print(json.dumps(seen))


main()
